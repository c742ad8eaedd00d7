//! Measures the fastest kernel for every convolution of a plan on one adapter, to create a [`Tuning`].
//!
//! Measuring takes seconds to minutes, so it runs only on request; nothing else in this crate calls it.

mod data;

use crate::gpu::{CompiledCandidate, DispatchBench, Gpu, GpuError, TunedKernel, Tuning};
use crate::kernel::{self, ConvSpec, Kernel, Rounding, Spec};
use crate::plan::CheckedPlan;
use data::Data;
use std::time::{Duration, Instant};

/// Minimum and maximum rounds over all kernels of a spec, and the time after which no further round begins.
const MIN_ROUNDS: usize = 7;
const MAX_ROUNDS: usize = 50;
const MAX_SPEC_TIME: Duration = Duration::from_millis(300);
/// Minimum duration of a measurement, unless it would take more than the maximum number of dispatches.
const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DISPATCHES: u32 = 256;
/// An alternative is chosen if its time is below this fraction of the static choice's time. Usually it must be faster by 2 %,
/// which noise rarely causes in a median. It must be faster by 10 % where the static choice is a shader shared by many layers,
/// because a separate shader takes a software driver a third of a second to compile.
const MAX_TIME_RATIO: f64 = 0.98;
const MAX_TIME_RATIO_OWN_SHADER: f64 = 0.9;

/// Result of tuning.
#[derive(Clone, Debug)]
pub struct Tune {
    /// One per distinct convolution of the plan for which there are several kernels, in the plan's order.
    pub choices: Vec<TunedConv>,
    /// Number of dispatches with only one candidate kernel.
    pub without_choice: usize,
    /// Whether times are GPU times; else host times over repeated dispatches.
    pub gpu_time: bool,
}

/// A convolution and the kernels tried for it.
#[derive(Clone, Debug)]
pub struct TunedConv {
    /// Names of the plan's dispatches with this spec.
    pub dispatches: Vec<String>,
    /// What they compute.
    pub spec: Spec,
    /// The kernels, the static choice first.
    pub tried: Vec<Tried>,
    /// Position of the kernel to use.
    pub chosen: usize,
}

/// A kernel that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Its name.
    pub kernel: kernel::Choice,
    /// The median time of a dispatch, or why it was not timed: the driver refused it, or its result differs from the static choice's by
    /// more than rounding.
    pub outcome: Result<Duration, String>,
}

/// Progress, reported before each spec is measured.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Number of specs measured so far.
    pub done: usize,
    /// Number of specs to measure in total.
    pub of: usize,
    /// The dispatch measured next.
    pub dispatch: &'a str,
}

/// Why a plan could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The device failed, or a dispatch has no kernel within its limits.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The static choice gives a result that is not a number: a bug in this crate or in the driver.
    #[error("{dispatch}: `{kernel}`, the static choice, gives no numbers ({what}): please report it")]
    Unsound {
        /// The dispatch.
        dispatch: String,
        /// The kernel.
        kernel: kernel::Choice,
        /// The first wrong element.
        what: String,
    },
}

/// Times every kernel of every distinct convolution of `plan`, which must be made for [`Gpu::plan_target`], on random data. A
/// kernel whose result differs from the static choice's by more than rounding is not timed. To be chosen, a kernel must be faster
/// by 2 %, or by 10 % on software adapters, which would have to compile an additional shader.
///
/// # Errors
/// [`TuneError`] names the dispatch.
pub fn tune(
    gpu: &Gpu,
    plan: &CheckedPlan,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Tune, TuneError> {
    let mut specs: Vec<(usize, &ConvSpec, Vec<Kernel>, TunedConv)> = vec![];
    let mut without_choice = 0;
    for (i, d) in plan.dispatches.iter().enumerate() {
        if let Some((.., choice)) = specs.iter_mut().find(|(.., c)| c.spec == d.spec) {
            choice.dispatches.push(d.name.clone());
            continue;
        }
        let kernels = gpu.candidates(plan, i)?;
        match &d.spec {
            Spec::Conv(conv) if kernels.len() > 1 => {
                let dispatches = vec![d.name.clone()];
                let choice = TunedConv { dispatches, spec: d.spec.clone(), tried: vec![], chosen: 0 };
                specs.push((i, conv, kernels, choice));
            }
            _ => without_choice += 1,
        }
    }
    let of = specs.len();
    let mut choices = vec![];
    for (done, (dispatch, conv, kernels, mut choice)) in specs.into_iter().enumerate() {
        progress(Progress { done, of, dispatch: &choice.dispatches[0] });
        choice.tried = measure(gpu, plan, dispatch, conv, &kernels)?;
        let max_time_ratio =
            if gpu.capabilities().shares_buffers() { MAX_TIME_RATIO_OWN_SHADER } else { MAX_TIME_RATIO };
        choice.chosen = fastest(&choice.tried, max_time_ratio);
        choices.push(choice);
    }
    let gpu_time = gpu.adapter().timestamps;
    Ok(Tune { choices, without_choice, gpu_time })
}

/// Checks and times the kernels of one spec.
fn measure(
    gpu: &Gpu,
    plan: &CheckedPlan,
    dispatch: usize,
    spec: &ConvSpec,
    kernels: &[Kernel],
) -> Result<Vec<Tried>, TuneError> {
    let data = Data::new(spec);
    let bounds = data.bounds(spec);
    let terms = data::terms(spec);
    let bench = DispatchBench::new(gpu, plan, dispatch, &data.reads, &data.writes)?;
    let mut expected: Option<Vec<Vec<f32>>> = None;
    let mut candidates: Vec<Result<CompiledCandidate, String>> = vec![];
    for kernel in kernels {
        let candidate = match bench.compile(kernel, &data.pack(kernel, spec)) {
            // A driver may refuse an alternative; if it refuses the static choice, nothing would run.
            Err(GpuError::Refused { message, .. }) if expected.is_some() => {
                candidates.push(Err(message));
                continue;
            }
            other => other?,
        };
        let answer = data::values(spec, &bench.answer(&candidate)?);
        let factor =
            [&kernels[0], kernel].map(|k| k.rounding().of(terms) / Rounding::DIRECT.of(terms)).iter().sum();
        let checked = data::compare(spec, &bounds, factor, expected.as_ref().unwrap_or(&answer), &answer);
        if expected.is_none() {
            let unsound = |what| {
                let kernel = kernel.choice;
                TuneError::Unsound { dispatch: plan.dispatches[dispatch].name.clone(), kernel, what }
            };
            checked.map_err(unsound)?;
            candidates.push(Ok(candidate));
            expected = Some(answer);
        } else {
            candidates.push(checked.map(|()| candidate));
        }
    }
    let mut times = time(&bench, &candidates.iter().flatten().collect::<Vec<_>>())?.into_iter();
    let tried = kernels.iter().zip(candidates).map(|(kernel, candidate)| Tried {
        kernel: kernel.choice,
        outcome: candidate.map(|_| times.next().expect("a time for each that was timed")),
    });
    Ok(tried.collect())
}

/// The median time of a dispatch of each candidate. Candidates are measured in alternation, so that disturbances affect all of
/// them.
fn time(bench: &DispatchBench<'_>, candidates: &[&CompiledCandidate]) -> Result<Vec<Duration>, GpuError> {
    let mut dispatches = 1;
    // Each candidate has run once, so it is compiled and its memory touched.
    while dispatches < MAX_DISPATCHES && bench.time(candidates[0], dispatches)? * dispatches < MIN_DURATION {
        dispatches *= 2;
    }
    let mut times: Vec<Vec<Duration>> = vec![vec![]; candidates.len()];
    let start = Instant::now();
    for round in 0..MAX_ROUNDS {
        if round >= MIN_ROUNDS && start.elapsed() > MAX_SPEC_TIME {
            break;
        }
        for (candidate, times) in candidates.iter().zip(&mut times) {
            times.push(bench.time(candidate, dispatches)?);
        }
    }
    Ok(times.into_iter().map(median).collect())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The fastest candidate if its time is below `max_time_ratio` times that of the first; else the first.
fn fastest(tried: &[Tried], max_time_ratio: f64) -> usize {
    let timed = tried.iter().enumerate().filter_map(|(i, t)| Some((i, *t.outcome.as_ref().ok()?)));
    let default = timed.clone().find(|(i, _)| *i == 0);
    match (timed.min_by_key(|(i, time)| (*time, *i)), default) {
        (Some((best, time)), Some((_, default)))
            if time.as_secs_f64() < max_time_ratio * default.as_secs_f64() =>
        {
            best
        }
        _ => 0,
    }
}

impl TunedConv {
    fn time_of(&self, at: usize) -> Duration {
        self.tried.get(at).and_then(|t| t.outcome.clone().ok()).unwrap_or_default()
    }

    /// Time of a dispatch by the static choice.
    pub fn default_time(&self) -> Duration {
        self.time_of(0)
    }

    /// Time of a dispatch by the kernel to use.
    pub fn chosen_time(&self) -> Duration {
        self.time_of(self.chosen)
    }
}

impl Tune {
    /// Total time per run of all dispatches measured: with the static choices, and with the chosen kernels.
    pub fn totals(&self) -> [Duration; 2] {
        let total = |time: fn(&TunedConv) -> Duration| {
            self.choices.iter().map(|c| time(c) * c.dispatches.len() as u32).sum()
        };
        [total(TunedConv::default_time), total(TunedConv::chosen_time)]
    }

    /// The choices, in the form stored for the adapter they were measured on.
    pub fn tuning(&self, gpu: &Gpu) -> Tuning {
        let mut tuning = Tuning::default();
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for choice in &self.choices {
            let name = |at: usize| choice.tried[at].kernel;
            let kept = TunedKernel {
                kernel: name(choice.chosen),
                time_ns: nanoseconds(choice.chosen_time()),
                default: name(0),
                default_ns: nanoseconds(choice.default_time()),
            };
            tuning.set(gpu.adapter(), &choice.spec, kept);
        }
        tuning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(times: &[Option<u64>]) -> Vec<Tried> {
        let outcome = |t: &Option<u64>| t.map(Duration::from_micros).ok_or_else(|| "wrong".to_string());
        times
            .iter()
            .map(|t| Tried { kernel: "max-pool".parse().expect("a kernel"), outcome: outcome(t) })
            .collect()
    }

    #[test]
    fn the_fastest_right_kernel_wins_where_it_pays() {
        assert_eq!(fastest(&tried(&[Some(100), Some(50), Some(70)]), MAX_TIME_RATIO), 1);
        assert_eq!(fastest(&tried(&[Some(100), None, Some(70)]), MAX_TIME_RATIO), 2);
        assert_eq!(fastest(&tried(&[Some(100), Some(99), None]), MAX_TIME_RATIO), 0);
        assert_eq!(fastest(&tried(&[Some(100)]), MAX_TIME_RATIO), 0);
        assert_eq!(fastest(&tried(&[Some(100), Some(92), Some(88)]), MAX_TIME_RATIO_OWN_SHADER), 2);
        assert_eq!(fastest(&tried(&[Some(100), Some(92)]), MAX_TIME_RATIO_OWN_SHADER), 0);
    }
}

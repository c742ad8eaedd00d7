//! Tunings: the kernels measured to be fastest, by adapter and spec, and the file format they are stored in.

use super::software::ArenaRanges;
use super::{AdapterReport, Gpu, GpuError};
use crate::kernel::{self, Arena, Choice, Kernel, Spec};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::{Path, PathBuf};

/// Version of the file format, including the keys of specs.
const SCHEMA_VERSION: u32 = 2;

/// Maximum bytes of a tuning file. A network takes about ten kilobytes per adapter.
#[cfg(not(target_arch = "wasm32"))]
const MAX_FILE: u64 = 16 << 20;

/// Maps specs to kernels, per adapter. Empty by default: all kernels are chosen statically.
///
/// An entry applies only to the adapter, driver and crate version it was measured with, and only if its kernel still exists. One value
/// can hold entries of many adapters, so an app can ship a single file. `rmnet tune` and the module `tune` create tunings; nothing is
/// measured, read or written implicitly.
///
/// ```
/// use rmnet::Tuning;
///
/// let text = r#"{ "schema_version": 2, "adapters": [] }"#;
/// let tuning = Tuning::from_json(text)?;
/// assert_eq!(tuning, Tuning::default());
/// assert_eq!(Tuning::from_json(&tuning.to_json())?, tuning);
/// assert!(Tuning::from_json(r#"{ "schema_version": 1 }"#).is_err());
/// # Ok::<(), rmnet::error::TuningError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    schema_version: SchemaVersion,
    adapters: Vec<Adapter>,
}

/// The entries of one adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adapter {
    adapter: String,
    driver: String,
    backend: String,
    /// Version of this crate.
    rmnet: String,
    /// Keyed by [`Spec::key`].
    kernels: BTreeMap<String, TunedKernel>,
}

/// The kernel chosen for a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedKernel {
    /// The fastest candidate.
    pub kernel: Choice,
    /// Its median time in nanoseconds.
    pub time_ns: u64,
    /// The static choice it was compared with.
    pub default: Choice,
    /// The static choice's median time in nanoseconds.
    pub default_ns: u64,
}

/// How an executor applied a [`Tuning`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tuned {
    /// Number of dispatches that run the tuning's kernel.
    pub dispatches: usize,
    /// Dispatches for which the tuning names an unavailable kernel, with that kernel; they run the static choice.
    #[doc(hidden)]
    pub unknown: Vec<(String, Choice)>,
}

/// A tuning that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuningError {
    /// Not a tuning file of this version.
    #[error("expected a tuning file of schema version {SCHEMA_VERSION}: {0}")]
    Format(serde_json::Error),
    /// The file cannot be read or written.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
}

/// The only supported version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct SchemaVersion;

impl TryFrom<u32> for SchemaVersion {
    type Error = String;

    fn try_from(version: u32) -> Result<SchemaVersion, String> {
        match version {
            SCHEMA_VERSION => Ok(SchemaVersion),
            other => Err(format!("found schema_version {other}")),
        }
    }
}

impl From<SchemaVersion> for u32 {
    fn from(_: SchemaVersion) -> u32 {
        SCHEMA_VERSION
    }
}

impl Adapter {
    fn new(report: &AdapterReport) -> Adapter {
        Adapter {
            adapter: report.name.clone(),
            driver: report.driver.clone(),
            backend: report.backend.into(),
            rmnet: env!("CARGO_PKG_VERSION").into(),
            kernels: BTreeMap::new(),
        }
    }

    fn is_same(&self, other: &Adapter) -> bool {
        let key = |a: &Adapter| [&a.adapter, &a.driver, &a.backend, &a.rmnet].map(String::clone);
        key(self) == key(other)
    }
}

impl Tuning {
    /// The entry for a spec on `adapter`, measured with this version of the crate.
    #[doc(hidden)]
    pub fn get(&self, adapter: &AdapterReport, spec: &Spec) -> Option<&TunedKernel> {
        let own = Adapter::new(adapter);
        let entries = self.adapters.iter().find(|a| a.is_same(&own))?;
        entries.kernels.get(&spec.key())
    }

    /// Sets the entry of an adapter and spec.
    #[doc(hidden)]
    pub fn set(&mut self, adapter: &AdapterReport, spec: &Spec, choice: TunedKernel) {
        let mut own = Adapter::new(adapter);
        own.kernels.insert(spec.key(), choice);
        self.merge(Tuning { adapters: vec![own], ..Tuning::default() });
    }

    /// Merges the entries of `newer`, which replace those of the same adapter and spec.
    pub fn merge(&mut self, newer: Tuning) {
        for from in newer.adapters {
            match self.adapters.iter_mut().find(|a| a.is_same(&from)) {
                Some(own) => own.kernels.extend(from.kernels),
                None => self.adapters.push(from),
            }
        }
    }

    /// Number of entries, of all adapters.
    pub fn len(&self) -> usize {
        self.adapters.iter().map(|a| a.kernels.len()).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parses the content of a tuning file.
    ///
    /// # Errors
    /// [`TuningError::Format`] says where it is damaged, or which schema version it has.
    pub fn from_json(text: &str) -> Result<Tuning, TuningError> {
        let read: Tuning = serde_json::from_str(text).map_err(TuningError::Format)?;
        // A file put together by hand may name an adapter twice.
        let mut tuning = Tuning::default();
        tuning.merge(read);
        Ok(tuning)
    }

    /// The content of a tuning file, as [`Tuning::from_json`] reads it.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("text and numbers");
        text.push('\n');
        text
    }

    /// Reads a tuning file, which is a regular file of up to 16 MiB.
    ///
    /// # Errors
    /// [`TuningError::File`] names the file, also if its content is not a tuning.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(path: impl AsRef<Path>) -> Result<Tuning, TuningError> {
        let path = path.as_ref();
        let failed = |source| TuningError::File { path: path.into(), source };
        let text = crate::files::read_text(path, MAX_FILE).map_err(failed)?;
        Tuning::from_json(&text)
            .map_err(|e| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string())))
    }

    /// Writes a tuning file atomically.
    ///
    /// # Errors
    /// [`TuningError::File`] names the file.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), TuningError> {
        let path = path.as_ref();
        crate::output::write_whole(path, |partial| std::fs::write(partial, self.to_json()))
            .map_err(|source| TuningError::File { path: path.into(), source })
    }
}

impl Gpu {
    /// Arena offsets of a dispatch's buffers; `None` without an arena.
    pub(super) fn arena(&self, plan: &Plan, dispatch: usize) -> Option<Arena> {
        Some(ArenaRanges::new(plan, self.capabilities())?.arena(plan, &plan.dispatches[dispatch]))
    }

    /// Every kernel worth timing for a dispatch of a plan on this GPU, the static choice first.
    ///
    /// # Errors
    /// [`GpuError::Kernel`] if a limit is too small; [`GpuError::WrongResults`] if the driver computes all of them wrong.
    #[doc(hidden)]
    pub fn candidates(&self, plan: &Plan, dispatch: usize) -> Result<Vec<Kernel>, GpuError> {
        let d = &plan.dispatches[dispatch];
        let arena = self.arena(plan, dispatch);
        let mut kernels = kernel::candidates_in(&d.spec, self.capabilities(), arena.as_ref())
            .map_err(|source| GpuError::Kernel { dispatch: d.name.clone(), source })?;
        let wrong = self.wrong_families(d);
        kernels.retain(|k| !wrong.contains(&k.choice.family));
        #[cfg(feature = "internals")]
        kernels.iter_mut().for_each(|kernel| self.change(kernel));
        match kernels.is_empty() {
            true => Err(self.wrong_results(plan, dispatch)),
            false => Ok(kernels),
        }
    }

    /// The kernel for a dispatch of a plan on this GPU: the tuning's, if it names an available one that is not quarantined, else the static
    /// choice among those that are not. Records the
    /// outcome in `tuned`.
    ///
    /// # Errors
    /// As [`Gpu::candidates`].
    #[doc(hidden)]
    pub fn choose(
        &self,
        plan: &Plan,
        dispatch: usize,
        tuning: &Tuning,
        tuned: &mut Tuned,
    ) -> Result<Kernel, GpuError> {
        let d = &plan.dispatches[dispatch];
        let wrong = self.wrong_families(d);
        let of_tuning = tuning.get(self.adapter(), &d.spec);
        if let Some(choice) = of_tuning.filter(|choice| !wrong.contains(&choice.kernel.family)) {
            let candidates = self.candidates(plan, dispatch)?;
            if let Some(kernel) = candidates.into_iter().find(|k| k.choice == choice.kernel) {
                tuned.dispatches += 1;
                return Ok(kernel);
            }
            tuned.unknown.push((d.name.clone(), choice.kernel));
        }
        let arena = self.arena(plan, dispatch);
        #[cfg_attr(not(feature = "internals"), expect(unused_mut, reason = "only tests change it"))]
        let mut kernel = kernel::select_without(&d.spec, self.capabilities(), arena.as_ref(), &wrong)
            .map_err(|source| GpuError::Kernel { dispatch: d.name.clone(), source })?
            .ok_or_else(|| self.wrong_results(plan, dispatch))?;
        #[cfg(feature = "internals")]
        self.change(&mut kernel);
        Ok(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{AverageSpec, BufferShape, Layout, Operand, Precision};

    fn report(name: &str, driver: &str) -> AdapterReport {
        AdapterReport {
            name: name.into(),
            kind: "software",
            backend: "vulkan",
            driver: driver.into(),
            pci: None,
            subgroup: None,
            timestamps: false,
            f16: false,
            max_binding_bytes: 0,
            max_buffer_bytes: 0,
            max_storage_buffers: 0,
            max_workgroup_memory: 0,
            max_workgroup_invocations: 0,
            max_workgroups: 0,
            problem: None,
        }
    }

    fn spec(channels: usize) -> Spec {
        let shape = BufferShape {
            batch: 1,
            channels,
            height: 2,
            width: 2,
            layout: Layout::Packed,
            precision: Precision::F32,
        };
        let from = Operand { buffer: 0, shape, first_channel: 0, channels, stride: 1, avg_pool_2x2: false };
        Spec::Average(AverageSpec { from, to: BufferShape { height: 1, width: 1, ..shape } })
    }

    /// A kernel with split-K.
    fn kernel(slices: usize) -> TunedKernel {
        let choice = |slices: usize| format!("gemv in {slices}").parse().expect("a kernel");
        TunedKernel { kernel: choice(slices), time_ns: 5, default: choice(8), default_ns: 6 }
    }

    #[test]
    fn entries_are_of_one_adapter_driver_and_spec() {
        let (one, other, newer) = (report("one", "1"), report("other", "1"), report("one", "2"));
        let mut tuning = Tuning::default();
        tuning.set(&one, &spec(4), kernel(2));
        assert_eq!(tuning.get(&one, &spec(4)), Some(&kernel(2)));
        assert_eq!(tuning.get(&one, &spec(8)), None);
        assert_eq!(tuning.get(&other, &spec(4)), None);
        assert_eq!(tuning.get(&newer, &spec(4)), None);
        assert_eq!(tuning.get(&AdapterReport { backend: "gl", ..one.clone() }, &spec(4)), None);
        let aged = tuning.to_json().replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        assert_eq!(Tuning::from_json(&aged).unwrap().get(&one, &spec(4)), None, "of another version");
    }

    #[test]
    fn merging_replaces_what_it_names_and_nothing_else() {
        let (one, other) = (report("one", "1"), report("other", "1"));
        let mut tuning = Tuning::default();
        for (adapter, channels, slices) in [(&one, 4, 2), (&one, 8, 3), (&other, 4, 4)] {
            tuning.set(adapter, &spec(channels), kernel(slices));
        }
        let mut newer = Tuning::default();
        newer.set(&one, &spec(4), kernel(5));
        tuning.merge(newer);
        let slices = |adapter, channels| tuning.get(adapter, &spec(channels)).unwrap().kernel.tile.split_k;
        assert_eq!([slices(&one, 4), slices(&one, 8), slices(&other, 4)], [5, 3, 4]);
        assert_eq!(tuning.len(), 3);
        assert_eq!(Tuning::from_json(&tuning.to_json()).unwrap(), tuning);
    }

    #[test]
    fn damaged_files_are_refused_with_what_was_expected() {
        let mut tuning = Tuning::default();
        tuning.set(&report("one", "1"), &spec(4), kernel(2));
        let whole = tuning.to_json();
        let cases: [(&str, &str); 6] = [
            (&whole[..whole.len() / 2], "EOF"),
            (&whole.replace("\"schema_version\": 2", "\"schema_version\": 1"), "schema_version 1"),
            (&whole.replace("gemv in 2", "conv2d tiled"), "found `conv2d tiled`"),
            (&whole.replace("time_ns", "time_ms"), "time_ms"),
            (r#"{ "adapters": [] }"#, "schema_version"),
            ("[1]", "schema version 2"),
        ];
        for (text, word) in cases {
            let error = Tuning::from_json(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("tuning file"), "{word}: {error}");
        }
    }
}

//! Chooses the channels to remove: the same share of every layer, as far as limits and multiples allow.
//!
//! Channels of a layer are removed in steps of [`PruneOptions::multiple`]. The steps of all layers are sorted by the share of the
//! layer that is gone after the step, and steps are taken in this order until the target is met.

use super::channels::{Channels, carries, convs};
use super::constant::Constants;
use super::order::Order;
use super::rebuild::rebuild;
use super::score::ChannelScores;
use super::weights::is_diagonal;
use super::{AtLeast, Left, PruneError, PruneOptions, PruneTarget};
use crate::graph::{BlockWeight, Graph, ValueId};

/// The removable channels of a layer, in units that are removed together.
struct Set {
    /// The first layer of `layers`, which are all layers that the channels are part of.
    layer: ValueId,
    layers: Vec<ValueId>,
    /// Whether the channels are carried past a block; else the layer computes them.
    carried: bool,
    units: Vec<usize>,
    /// The number of kept units is a multiple of this, or all units.
    multiple: usize,
    /// Minimum number of kept units.
    floor: usize,
    /// Whether the criterion can score the channels.
    judged: bool,
}

/// All channels that may be removed.
pub(super) struct Sets<'a> {
    graph: &'a Graph,
    channels: &'a Channels,
    constants: &'a Constants,
    scores: &'a ChannelScores<'a>,
    sets: Vec<Set>,
    /// Channels per class, as [`PruneTarget::Ratio`] counts them.
    size: Vec<usize>,
    /// Set and units left, in the order in which steps are taken.
    steps: Vec<(usize, usize)>,
}

/// Per class, the layers that compute or carry its channels.
struct Origins {
    /// Number of computed (not carried) channels.
    size: Vec<usize>,
    /// The layers that compute its channels, in order.
    computed: Vec<Vec<ValueId>>,
    /// The first layer that carries it.
    carried: Vec<Option<ValueId>>,
}

impl Origins {
    /// The origins of all classes.
    fn new(graph: &Graph, channels: &Channels) -> Origins {
        let mut size = vec![0; channels.members.len()];
        let mut computed: Vec<Vec<ValueId>> = vec![vec![]; size.len()];
        let mut carried: Vec<Option<ValueId>> = vec![None; size.len()];
        for (v, conv, x) in convs(graph) {
            for o in 0..conv.out_channels {
                let class = channels.class(v, o);
                if !carries(conv, o) {
                    size[class] += 1;
                    if computed[class].last() != Some(&v) {
                        computed[class].push(v);
                    }
                }
            }
            let own = (0..conv.out_channels).any(|o| !carries(conv, o));
            let dirac = |w: &BlockWeight| matches!(w, BlockWeight::Dirac | BlockWeight::AvgPool2x2);
            for block in conv.blocks.iter().filter(|b| own && is_diagonal(b) && dirac(&b.weight)) {
                for (o, i) in block.out.clone().zip(block.input.clone()) {
                    // Only where the stream leaves a block's output: later convolutions just hand it on.
                    let first = carried[channels.class(x, i)].is_none();
                    if carries(conv, o) && first {
                        carried[channels.class(v, o)].get_or_insert(v);
                    }
                }
            }
        }
        Origins { size, computed, carried }
    }
}

/// The sets of classes that may be removed, in the order of their layers, before multiples and floors apply. `reserved` adds
/// classes that are only carried.
fn removable(
    computed: &[Vec<ValueId>],
    carried: &[Option<ValueId>],
    channels: &Channels,
    reserved: bool,
    judged: impl Fn(&[ValueId]) -> bool,
) -> Vec<Set> {
    let mut sets: Vec<Set> = vec![];
    for class in (0..computed.len()).filter(|c| !channels.fixed[*c]) {
        let (layers, carried) = match (computed[class].as_slice(), carried[class]) {
            ([], Some(v)) if reserved => (vec![v], true),
            ([], _) => continue,
            (layers, _) => (layers.to_vec(), false),
        };
        let same = |s: &Set| s.layer == layers[0] && s.carried == carried;
        match sets.iter_mut().rev().find(|s| same(s)) {
            Some(set) => set.units.push(class),
            None => sets.push(Set {
                layer: layers[0],
                judged: carried || judged(&layers),
                layers,
                carried,
                units: vec![class],
                multiple: 1,
                floor: 1,
            }),
        }
    }
    sets.sort_by_key(|s| (s.layer, !s.carried));
    sets
}

/// Refuses a limit for a layer that no set is part of.
fn check_limits(graph: &Graph, sets: &[Set], limits: &[(String, f64)]) -> Result<(), PruneError> {
    for (layer, _) in limits {
        let names = |s: &Set| s.layers.iter().map(|v| graph.node(*v).name.as_str()).collect::<Vec<_>>();
        if !sets.iter().flat_map(names).any(|n| n == layer) {
            let mut layers = sets.iter().flat_map(names).take(8).collect::<Vec<_>>().join(", ");
            if sets.iter().flat_map(names).nth(8).is_some() {
                layers += ", ...";
            }
            return Err(PruneError::UnknownLayer { layer: layer.clone(), layers });
        }
    }
    Ok(())
}

impl Set {
    /// Sets the multiple and the floor from the options and the limits of the set's layers.
    fn limit(&mut self, graph: &Graph, channels: &Channels, options: &PruneOptions) {
        let n = self.units.len();
        let members = channels.members[self.units[0]].iter();
        let width = members.filter(|e| channels.locate(**e).0 == self.layer).count().max(1);
        self.multiple = options.multiple / gcd(options.multiple, width);
        self.floor = match options.keep_at_least {
            AtLeast::Channels(count) => count.div_ceil(width),
            AtLeast::Share(share) => ceil(n as f64 * share),
        };
        for (layer, share) in &options.limits {
            if self.layers.iter().any(|v| graph.node(*v).name == *layer) {
                self.floor = self.floor.max(n - (n as f64 * share + 1e-9) as usize);
            }
        }
        self.floor = self.floor.clamp(1, n);
    }
}

/// Set and units left of every step, ordered by the share of the set that is gone after it.
fn ordered_steps(sets: &[Set]) -> Vec<(usize, usize)> {
    let mut steps: Vec<(f64, usize, usize)> = vec![];
    for (s, set) in sets.iter().enumerate().filter(|(_, s)| s.judged) {
        let n = set.units.len();
        let kept = (set.floor.div_ceil(set.multiple)..n.div_ceil(set.multiple)).map(|k| k * set.multiple);
        steps.extend(kept.map(|k| (1.0 - k as f64 / n as f64, s, k)));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    steps.into_iter().map(|(_, s, k)| (s, k)).collect()
}

impl<'a> Sets<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        channels: &'a Channels,
        constants: &'a Constants,
        scores: &'a ChannelScores<'a>,
        options: &PruneOptions,
    ) -> Result<Sets<'a>, PruneError> {
        let Origins { mut size, computed, carried } = Origins::new(graph, channels);
        let exactly = options.target == PruneTarget::Ratio(0.0);
        let judged = |layers: &[ValueId]| exactly || layers.iter().any(|v| scores.judges(*v));
        let mut sets = removable(&computed, &carried, channels, options.reserved, judged);
        // No row computes the channels of a carried class, so it counts as one channel.
        sets.iter().filter(|s| s.carried).flat_map(|s| &s.units).for_each(|class| size[*class] = 1);
        check_limits(graph, &sets, &options.limits)?;
        if !exactly && !sets.iter().any(|s| s.judged && !s.carried) {
            let why = match sets.is_empty() {
                true => "no layer can be pruned".into(),
                false => "no layer has values to be judged by; l1 needs none".into(),
            };
            return Err(PruneError::Criterion { criterion: scores.criterion(), why });
        }
        sets.iter_mut().for_each(|set| set.limit(graph, channels, options));
        let steps = ordered_steps(&sets);
        Ok(Sets { graph, channels, constants, scores, sets, size, steps })
    }

    /// Number of channels that may be removed.
    pub(super) fn total(&self) -> usize {
        self.sets.iter().filter(|s| s.judged).flat_map(|s| &s.units).map(|c| self.size[*c]).sum()
    }

    /// Number of channels that are removed.
    pub(super) fn removed(&self, alive: &[bool]) -> usize {
        let units = self.sets.iter().filter(|s| s.judged).flat_map(|s| &s.units);
        units.filter(|c| !alive[**c]).map(|c| self.size[*c]).sum()
    }

    /// The classes that are kept.
    pub(super) fn choose(&self, options: &PruneOptions) -> Result<Vec<bool>, PruneError> {
        let measure = |alive: &[bool]| -> Result<f64, PruneError> {
            Ok(match options.target {
                PruneTarget::Ratio(_) => self.removed(alive) as f64 / self.total().max(1) as f64,
                PruneTarget::Macs(_) => {
                    let order = Order::new(self.graph, self.channels, alive);
                    let pruned = rebuild(self.graph, self.channels, &order, None)?;
                    pruned.macs() as f64 / self.graph.macs().max(1) as f64
                }
            })
        };
        // A ratio must not be exceeded; a budget must be met. The measure is monotonic in the number of steps.
        let (option, asked) = match options.target {
            PruneTarget::Ratio(r) => ("ratio", r),
            PruneTarget::Macs(r) => ("macs", r),
        };
        let ratio = option == "ratio";
        let within = |found: f64| if ratio { found <= asked + 1e-12 } else { found > asked + 1e-12 };
        let (mut low, mut high) = (0, self.steps.len() + 1);
        // Binary search for the first number of steps, from 1 on, that is no longer within the target.
        while low + 1 < high {
            let middle = low.midpoint(high);
            match within(measure(&self.after(middle))?) {
                true => low = middle,
                false => high = middle,
            }
        }
        let steps = if ratio || !within(measure(&self.after(0))?) { low } else { high };
        let alive = self.after(steps.min(self.steps.len()));
        let reached = measure(&alive)?;
        let short = match options.target {
            // The ratio counts as met if one more step would exceed it. It is missed only if all steps are taken and one more of
            // the largest would still fall short.
            PruneTarget::Ratio(_) => low == self.steps.len() && reached + self.largest_step() < asked,
            PruneTarget::Macs(_) => reached > asked + 1e-12,
        };
        if short {
            return Err(PruneError::Unreachable { option, asked, reached });
        }
        Ok(alive)
    }

    /// Largest share of all channels that one step removes.
    fn largest_step(&self) -> f64 {
        let step = |s: &Set| s.units.iter().map(|c| self.size[*c]).max().unwrap_or(0) * s.multiple;
        self.sets.iter().map(step).max().unwrap_or(0) as f64 / self.total().max(1) as f64
    }

    /// The classes that are kept after `steps` steps.
    fn after(&self, steps: usize) -> Vec<bool> {
        let mut keep: Vec<usize> = self.sets.iter().map(|s| s.units.len()).collect();
        self.steps[..steps].iter().for_each(|&(s, k)| keep[s] = k);
        let mut alive = vec![true; self.size.len()];
        for (set, keep) in self.sets.iter().zip(keep) {
            let needed = set.units.iter().filter(|c| !self.constants.removable[**c]).count();
            let exact = needed.next_multiple_of(set.multiple).max(set.floor);
            let keep = keep.min(exact);
            if keep < set.units.len() {
                self.thin(set, keep, &mut alive);
            }
        }
        self.channels.close(self.graph, &mut alive);
        alive
    }

    /// Keeps at least `keep` units of a set. Adjacent channels of one stream are removed in whole multiples, so that the carried
    /// channels stay a few aligned ranges.
    fn thin(&self, set: &Set, keep: usize, alive: &mut [bool]) {
        let scores = self.scores.of(alive);
        let score = |c: usize| if self.constants.removable[c] { -1.0 } else { scores[c] };
        let mut runs: Vec<(usize, Vec<usize>)> = vec![];
        for &unit in &set.units {
            // Streams that begin in this set form one run.
            let run = match self.channels.from[unit].filter(|from| alive[*from]) {
                Some(from) => self.run(from, alive),
                None => usize::MAX,
            };
            match runs.iter_mut().find(|(r, _)| *r == run) {
                Some((_, units)) => units.push(unit),
                None => runs.push((run, vec![unit])),
            }
        }
        // While removing the exactly removable channels is enough, no other channel is removed.
        let needed = |c: &usize| !self.constants.removable[*c];
        let exactly = keep >= set.units.iter().filter(|c| needed(c)).count();
        let mut chunks: Vec<(bool, f64, Vec<usize>)> = vec![];
        for (_, mut units) in runs {
            units.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
            for chunk in units.chunks(set.multiple) {
                let mean = chunk.iter().map(|c| score(*c)).sum::<f64>() / chunk.len() as f64;
                chunks.push((exactly && chunk.iter().any(needed), mean, chunk.to_vec()));
            }
        }
        chunks.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let mut kept = 0;
        for (stays, _, units) in chunks {
            if kept >= keep && !stays {
                units.iter().for_each(|c| alive[*c] = false);
            }
            kept += units.len();
        }
    }

    /// The layer in which the stream of a class begins.
    fn run(&self, class: usize, alive: &[bool]) -> usize {
        let mut class = class;
        while let Some(from) = self.channels.from[class].filter(|from| alive[*from]) {
            class = from;
        }
        self.channels.locate(self.channels.members[class][0]).0.index()
    }

    /// The channels that could not be removed, and why.
    pub(super) fn left(&self, alive: &[bool]) -> Vec<Left> {
        let name = |v: ValueId| self.graph.node(v).name.clone();
        let mut left = vec![];
        for set in &self.sets {
            if !set.judged {
                let reason = format!("nothing for criterion {} to judge it by", self.scores.criterion());
                left.push(Left { layer: name(set.layer), reason });
            } else if set.units.len() <= set.multiple {
                let reason = format!("{} channels, kept in multiples of {}", set.units.len(), set.multiple);
                left.push(Left { layer: name(set.layer), reason });
            }
            let stay = set.units.iter().filter(|c| alive[**c]);
            let constant: Vec<_> = stay.filter_map(|c| self.constants.stays[*c].as_ref()).collect();
            if let Some((value, reader)) = constant.first() {
                let reason = format!(
                    "{} constant channels stay ({value:.3e} the first): {reader} is padded, its border would change",
                    constant.len()
                );
                left.push(Left { layer: name(set.layer), reason });
            }
        }
        left
    }
}

fn ceil(value: f64) -> usize {
    (value - 1e-9).ceil().max(0.0) as usize
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

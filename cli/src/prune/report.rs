//! The report of `prune`.

use crate::{giga, mib};
use rmnet::PrunedModel;
use rmnet::rewrite::prune::{LayerLoss, Left};
use serde::Serialize;
use std::fmt;
use std::path::Path;

#[derive(Serialize)]
pub struct PruneReport<'a> {
    /// The file written.
    output: String,
    bytes: u64,
    /// Removable channels before pruning.
    channels: usize,
    removed: usize,
    layers: Vec<Layer<'a>>,
    left: Vec<Unpruned<'a>>,
    macs: Change,
    parameters: Change,
    /// Multiply-accumulates of the plans.
    planned_macs: Change,
    activation_bytes: Change,
    dispatches: Change,
}

/// A convolution of the chain.
#[derive(Serialize)]
struct Layer<'a> {
    layer: &'a str,
    own: Change,
    reserved: Change,
    inputs: Change,
    macs: Change,
    parameters: Change,
}

/// A layer in which removable channels were kept.
#[derive(Serialize)]
struct Unpruned<'a> {
    layer: &'a str,
    reason: &'a str,
}

/// A figure before and after.
#[derive(Clone, Copy, Serialize)]
struct Change {
    before: usize,
    after: usize,
}

impl Change {
    /// The remaining share in percent.
    fn percent(self) -> f64 {
        100.0 * self.after as f64 / self.before.max(1) as f64
    }

    /// The cell of a table, in which most figures do not change.
    fn cell(self) -> String {
        match self.before == self.after {
            true => self.after.to_string(),
            false => format!("{} -> {}", self.before, self.after),
        }
    }
}

impl From<[usize; 2]> for Change {
    fn from([before, after]: [usize; 2]) -> Change {
        Change { before, after }
    }
}

impl<'a> PruneReport<'a> {
    pub fn of(out: &Path, bytes: u64, found: &'a PrunedModel) -> PruneReport<'a> {
        let PrunedModel { pruned, plans, parameters, .. } = found;
        let layer = |l: &'a LayerLoss| Layer {
            layer: &l.layer,
            own: l.own.into(),
            reserved: l.reserved.into(),
            inputs: l.inputs.into(),
            macs: l.macs.into(),
            parameters: l.parameters.into(),
        };
        let unpruned = |l: &'a Left| Unpruned { layer: &l.layer, reason: &l.reason };
        PruneReport {
            output: out.to_string_lossy().into_owned(),
            bytes,
            channels: pruned.channels,
            removed: pruned.removed,
            layers: pruned.layers.iter().map(layer).collect(),
            left: pruned.left.iter().map(unpruned).collect(),
            macs: [0, 1].map(|i| pruned.layers.iter().map(|l| l.macs[i]).sum::<usize>()).into(),
            parameters: (*parameters).into(),
            planned_macs: plans.each_ref().map(|p| p.macs()).into(),
            activation_bytes: plans.each_ref().map(|p| p.activation_bytes()).into(),
            dispatches: plans.each_ref().map(|p| p.dispatches.len()).into(),
        }
    }
}

impl fmt::Display for PruneReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PruneReport { output, channels, removed, macs, parameters, activation_bytes, .. } = self;
        writeln!(
            f,
            "{output}: {removed} of {channels} channels removed ({:.1} %), {}",
            100.0 * *removed as f64 / (*channels).max(1) as f64,
            mib(self.bytes as usize)
        )?;
        self.table(f)?;
        self.left.iter().try_for_each(|l| writeln!(f, "  left {}: {}", l.layer, l.reason))?;
        writeln!(
            f,
            "MACs {:.3} -> {:.3} G ({:.1} %), parameters {:.3} -> {:.3} M ({:.1} %)",
            giga(macs.before),
            giga(macs.after),
            macs.percent(),
            parameters.before as f64 / 1e6,
            parameters.after as f64 / 1e6,
            parameters.percent()
        )?;
        write!(
            f,
            "activations {} -> {} ({:.1} %), dispatches {} -> {}",
            mib(activation_bytes.before),
            mib(activation_bytes.after),
            activation_bytes.percent(),
            self.dispatches.before,
            self.dispatches.after
        )
    }
}

impl PruneReport<'_> {
    /// Channels and multiplies of every layer.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|l| l.layer.len()).max().unwrap_or(0).max(8);
        writeln!(f, "{:<width$} {:>13} {:>13} {:>13} {:>7}", "layer", "own", "reserved", "inputs", "MACs")?;
        self.layers.iter().try_for_each(|l| {
            writeln!(
                f,
                "{:<width$} {:>13} {:>13} {:>13} {:>5.1} %",
                l.layer,
                l.own.cell(),
                l.reserved.cell(),
                l.inputs.cell(),
                l.macs.percent()
            )
        })
    }
}

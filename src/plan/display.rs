//! A plan as readable text, and the live ranges of its buffers.

use super::{BufferId, Dispatch, Place, Plan};
use crate::graph::MaxPool;
use crate::kernel::{ConvSpec, Operand, Precision, Spec};
use std::fmt;
use std::ops::RangeInclusive;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Input => f.write_str("input"),
            Place::Output => f.write_str("output"),
            Place::Slot(s) => write!(f, "s{s}"),
        }
    }
}

/// Formats bytes as MiB, or as KiB below 0.1 MiB.
pub(crate) fn mib(bytes: usize) -> String {
    let mib = bytes as f64 / (1 << 20) as f64;
    if mib < 0.1 { format!("{:.1} KiB", bytes as f64 / 1024.0) } else { format!("{mib:.2} MiB") }
}

fn view(o: &Operand) -> String {
    let mut text = String::new();
    if o.channels != o.shape.channels {
        text += &format!("[{}..{}]", o.first_channel, o.first_channel + o.channels);
    }
    if o.stride > 1 {
        text += &format!("[::{0},::{0}]", o.stride);
    }
    if o.avg_pool_2x2 {
        text += "[mean 2x2]";
    }
    text
}

/// Formula of a convolution dispatch over the places of its buffers.
fn conv_text(plan: &Plan, d: &Dispatch, c: &ConvSpec) -> String {
    let place = |id: BufferId| plan.buffer(id).place;
    let mut terms: Vec<String> = c
        .k_ranges
        .iter()
        .map(|k| {
            let groups = if k.groups > 1 { format!(" g{}", k.groups) } else { String::new() };
            let stride = if k.stride == [1, 1] { String::new() } else { format!("/{}", k.stride[0]) };
            let [kh, kw] = k.kernel;
            let from = format!("{}{}", place(d.reads[k.from.buffer]), view(&k.from));
            let from = match k.prologue {
                None => from,
                Some(crate::kernel::Function::Identity) => format!("a * {from} + b"),
                Some(function) => format!("{function}(a * {from} + b)"),
            };
            format!("conv{kh}x{kw}{stride}{groups}({from})")
        })
        .collect();
    for (i, add) in c.adds.iter().enumerate() {
        let id = if i < c.in_place { d.in_place } else { d.reads.get(add.from.buffer).copied() };
        let gate = add.gate.as_ref().and_then(|g| d.reads.get(g.buffer));
        let gate = gate.map_or_else(String::new, |id| format!("{} * ", place(*id)));
        terms.push(id.map_or_else(String::new, |id| format!("{gate}{}{}", place(id), view(&add.from))));
    }
    let mut text = terms.join(" + ");
    let mut activations: Vec<String> = c.activation.iter().map(|(_, a)| a.to_string()).collect();
    activations.dedup();
    if activations != ["identity"] {
        text = format!("{}({text})", activations.join("|"));
    }
    match &c.pool {
        Some(p) => format!("{}({text})", pool_text(p)),
        None => text,
    }
}

fn pool_text(pool: &MaxPool) -> String {
    format!("max_pool{}x{}/{}", pool.kernel[0], pool.kernel[1], pool.stride[0])
}

impl Plan {
    /// The dispatch as a formula over slots.
    #[doc(hidden)]
    pub fn formula(&self, d: &Dispatch) -> String {
        let to: Vec<String> = d.writes.iter().map(|w| self.buffer(*w).place.to_string()).collect();
        let read = |o: &Operand| {
            d.reads
                .get(o.buffer)
                .map_or_else(String::new, |id| format!("{}{}", self.buffer(*id).place, view(o)))
        };
        let text = match &d.spec {
            Spec::Conv(c) => conv_text(self, d, c),
            Spec::MaxPool(p) => format!("{}({})", pool_text(&p.pool), read(&p.from)),
            Spec::Average(a) => format!("average({})", read(&a.from)),
        };
        format!("{} = {text}", to.join(", "))
    }

    /// Each buffer in a slot, with its slot and live range.
    #[doc(hidden)]
    pub fn lives(&self) -> Vec<(BufferId, usize, RangeInclusive<usize>)> {
        let mut spans: Vec<Option<RangeInclusive<usize>>> = vec![None; self.buffers.len()];
        for (t, d) in self.dispatches.iter().enumerate() {
            for b in d.writes.iter().chain(&d.reads).chain(&d.in_place) {
                let span = spans[b.0].get_or_insert(t..=t);
                *span = *span.start()..=t;
            }
        }
        for part in self.kept.iter().flat_map(|k| &k.parts) {
            if let Some(span) = &mut spans[part.buffer.0] {
                *span = *span.start()..=self.dispatches.len();
            }
        }
        spans
            .into_iter()
            .enumerate()
            .filter_map(|(b, span)| match self.buffers[b].place {
                Place::Slot(s) => span.map(|span| (BufferId(b), s, span)),
                _ => None,
            })
            .collect()
    }
}

/// Maximum width of the name column.
const MAX_COLUMN: usize = 64;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.dispatches.iter().map(|d| d.name.chars().count()).max().unwrap_or(0).min(MAX_COLUMN);
        for (t, d) in self.dispatches.iter().enumerate() {
            let out = self.buffer(d.writes[0]).shape;
            let channels: usize = d.writes.iter().map(|w| self.buffer(*w).shape.channels).sum();
            let shape = format!("[{}, {channels}, {}, {}]", out.batch, out.height, out.width);
            writeln!(f, "{t:>3} {:<wide$}  {shape:<20} {}", d.name, self.formula(d))?;
        }
        for (s, bytes) in self.slots.iter().enumerate() {
            writeln!(f, "slot s{s}: {bytes} bytes ({})", mib(*bytes))?;
        }
        write!(
            f,
            "{} dispatches, {} slots, planned peak {}, lower bound {}{}",
            self.dispatches.len(),
            self.slots.len(),
            mib(self.activation_bytes()),
            mib(self.lower_bound),
            if self.precision() == Precision::F16 { ", f16" } else { "" }
        )
    }
}

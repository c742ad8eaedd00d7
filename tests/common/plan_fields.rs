//! Every number and part of a plan, to be spoilt one at a time.
#![allow(dead_code, reason = "each test binary uses its part")]

use rmnet::kernel::{BufferShape, Function, Layout, Operand, Spec};
use rmnet::plan::{Place, Plan};

/// Whether a plan spoilt there and still accepted has to give the same values. What only the graph tells, such as where a window
/// begins or which of two like buffers is meant, is `verify`'s to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    Always,
    /// By the graph alone.
    Graph,
}
use Seen::{Always, Graph};

pub type Field<'a> = (String, Seen, &'a mut usize);

fn shape<'a>(name: &str, s: &'a mut BufferShape, fields: &mut Vec<Field<'a>>) {
    fields.push((format!("{name}.batch"), Always, &mut s.batch));
    fields.push((format!("{name}.channels"), Always, &mut s.channels));
    fields.push((format!("{name}.height"), Always, &mut s.height));
    fields.push((format!("{name}.width"), Always, &mut s.width));
}

fn operand<'a>(name: &str, o: &'a mut Operand, fields: &mut Vec<Field<'a>>) {
    shape(&format!("{name}.shape"), &mut o.shape, fields);
    fields.push((format!("{name}.buffer"), Graph, &mut o.buffer));
    fields.push((format!("{name}.first_channel"), Graph, &mut o.first_channel));
    fields.push((format!("{name}.channels"), Graph, &mut o.channels));
    fields.push((format!("{name}.stride"), Graph, &mut o.stride));
}

/// Every number of a plan.
pub fn fields(plan: &mut Plan) -> Vec<Field<'_>> {
    let mut f: Vec<Field<'_>> = vec![("batch".into(), Always, &mut plan.batch)];
    for (i, b) in plan.buffers.iter_mut().enumerate() {
        shape(&format!("buffer {i}"), &mut b.shape, &mut f);
        if let Place::Slot(s) = &mut b.place {
            f.push((format!("buffer {i}.slot"), Always, s));
        }
    }
    plan.slots.iter_mut().enumerate().for_each(|(i, s)| f.push((format!("slot {i}"), Always, s)));
    for (i, kept) in plan.kept.iter_mut().enumerate() {
        for part in &mut kept.parts {
            f.push((format!("kept {i}.buffer"), Graph, &mut part.buffer.0));
            f.push((format!("kept {i}.first_channel"), Graph, &mut part.first_channel));
            f.push((format!("kept {i}.channels"), Graph, &mut part.channels));
            f.push((format!("kept {i}.stride"), Graph, &mut part.stride));
        }
    }
    for (t, d) in plan.dispatches.iter_mut().enumerate() {
        let at = |what: &str| format!("dispatch {t}.{what}");
        d.reads.iter_mut().for_each(|b| f.push((at("reads"), Graph, &mut b.0)));
        d.writes.iter_mut().for_each(|b| f.push((at("writes"), Graph, &mut b.0)));
        d.in_place.iter_mut().for_each(|b| f.push((at("in_place buffer"), Graph, &mut b.0)));
        if let Some(w) = &mut d.weights {
            let shapes = w.k_ranges.iter_mut().flat_map(|k| &mut k.shape);
            shapes.for_each(|n| f.push((at("weight shape"), Always, n)));
        }
        match &mut d.spec {
            Spec::Conv(c) => {
                for k in &mut c.k_ranges {
                    operand(&at("k"), &mut k.from, &mut f);
                    k.kernel.iter_mut().for_each(|n| f.push((at("kernel"), Always, n)));
                    f.push((at("groups"), Always, &mut k.groups));
                    for window in [&mut k.stride, &mut k.padding, &mut k.padding_end, &mut k.dilation] {
                        window.iter_mut().for_each(|n| f.push((at("window"), Graph, n)));
                    }
                }
                for a in &mut c.adds {
                    operand(&at("add"), &mut a.from, &mut f);
                    f.push((at("first_out"), Graph, &mut a.first_out));
                    a.gate.iter_mut().for_each(|g| operand(&at("gate"), g, &mut f));
                }
                f.push((at("in_place"), Always, &mut c.in_place));
                f.push((at("out_channels"), Always, &mut c.out_channels));
                c.size.iter_mut().for_each(|n| f.push((at("size"), Always, n)));
                for (range, _) in &mut c.activation {
                    f.push((at("activation.start"), Always, &mut range.start));
                    f.push((at("activation.end"), Always, &mut range.end));
                }
                for o in &mut c.outputs {
                    shape(&at("output.shape"), &mut o.shape, &mut f);
                    f.push((at("output.start"), Always, &mut o.channels.start));
                    f.push((at("output.end"), Always, &mut o.channels.end));
                    f.push((at("output.first_channel"), Always, &mut o.first_channel));
                }
                if let Some(p) = &mut c.pool {
                    for n in [&mut p.kernel, &mut p.stride, &mut p.padding].into_iter().flatten() {
                        f.push((at("fused pool"), Graph, n));
                    }
                }
            }
            Spec::MaxPool(p) => {
                operand(&at("pool"), &mut p.from, &mut f);
                shape(&at("pool.to"), &mut p.to, &mut f);
                for n in [&mut p.pool.kernel, &mut p.pool.stride, &mut p.pool.padding].into_iter().flatten() {
                    f.push((at("pool window"), Graph, n));
                }
            }
            Spec::Average(a) => {
                operand(&at("average"), &mut a.from, &mut f);
                shape(&at("average.to"), &mut a.to, &mut f);
            }
        }
    }
    f
}

/// Parts that are no numbers: each spoilt in one way, with whether that is seen.
pub fn spoil(plan: &mut Plan, pick: usize) -> (String, Seen) {
    let t = pick / 17 % plan.dispatches.len();
    let b = pick / 17 % plan.buffers.len();
    let d = &mut plan.dispatches[t];
    let flip = |o: &mut Operand| o.avg_pool_2x2 = !o.avg_pool_2x2;
    match (pick % 17, &mut d.spec) {
        (0, _) => drop(plan.dispatches.remove(t)),
        (1, _) => plan.dispatches.insert(t, plan.dispatches[t].clone()),
        (2, _) => d.weights = None,
        (3, _) => d.in_place = d.in_place.xor(d.reads.first().copied()),
        (4, _) => drop(d.reads.pop()),
        (5, _) => drop(d.writes.pop()),
        (6, _) => d.writes.extend(d.writes.clone()),
        (7, _) => plan.buffers[b].place = Place::Input,
        (8, _) => plan.buffers[b].place = Place::Output,
        (9, _) => drop(plan.buffers.remove(b)),
        (10, Spec::Conv(c)) => c.k_ranges.iter_mut().for_each(|k| flip(&mut k.from)),
        (10, Spec::MaxPool(p)) => flip(&mut p.from),
        (10, Spec::Average(a)) => flip(&mut a.from),
        (11, Spec::Conv(c)) => c.adds.iter_mut().for_each(|a| flip(&mut a.from)),
        (12, Spec::Conv(c)) => {
            c.k_ranges.iter_mut().for_each(|k| k.prologue = k.prologue.xor(Some(Function::Relu)))
        }
        (13, Spec::Conv(c)) => drop(c.outputs.pop()),
        (14, Spec::Conv(c)) => drop(c.k_ranges.pop()),
        (15, _) => {
            let layout = &mut plan.buffers[b].shape.layout;
            *layout = if *layout == Layout::Packed { Layout::Planar } else { Layout::Packed };
        }
        // An operand moved by one channel: between quads, where nothing but an add without a gate may begin.
        (_, Spec::Conv(c)) => {
            for a in c.adds.iter_mut().filter(|a| a.from.channels > 1) {
                (a.from.first_channel, a.from.channels) = (a.from.first_channel + 1, a.from.channels - 1);
            }
            return (format!("an add of dispatch {t}"), Graph);
        }
        (_, Spec::MaxPool(p)) => p.from.channels = 1,
        (_, Spec::Average(a)) => a.from.channels = 1,
    }
    (format!("{} of dispatch {t} or buffer {b}", pick % 17), Always)
}

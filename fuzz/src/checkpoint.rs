//! Bytes of a safetensors file and a config, through everything to logits.

use crate::file::{File, fixtures};
use crate::judge::{is_small, judge};
use crate::source::Source;
use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model};

/// A first byte below 64: the rest is a file as it is. Else a network, a fixture's or any, with some things changed.
pub fn checkpoint(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    if *first < 64 {
        let Ok(checkpoint) = Checkpoint::from_bytes(rest.to_vec(), None) else { return };
        let size = Some([9 + usize::from(*first), 12]);
        load(&checkpoint, size, &mut Source::new(&rest[rest.len() / 2..]));
        return;
    }
    let s = &mut Source::new(rest);
    let mut file = if s.one_in(2) { File::resnet(s) } else { s.pick(fixtures()).clone() };
    let size = if s.one_in(4) { [s.within(1, 40), s.within(1, 40)] } else { [file.size; 2] };
    for _ in 0..s.within(0, 4) {
        file.change(s);
    }
    let mut bytes = file.to_bytes();
    if s.one_in(8) {
        let at = s.below(bytes.len());
        bytes[at] ^= 1 << s.below(8);
    }
    let Some(checkpoint) = file.open(bytes) else { return };
    load(&checkpoint, Some(size), s);
}

/// Loads and judges a network.
pub fn load(checkpoint: &Checkpoint, size: Option<[usize; 2]>, s: &mut Source) {
    let model = match models::load(checkpoint, size) {
        Ok(model) => model,
        Err(e) => return drop(e.to_string()),
    };
    of_model(&model, s);
}

/// What is printed of a model, and what it computes.
pub fn of_model(model: &Model, s: &mut Source) {
    if !is_small(&model.graph) {
        return;
    }
    let _ = (model.graph.to_string(), model.graph.parameters(), model.graph.statistics());
    for block in &model.blocks {
        assert!(model.graph.find(block).is_some(), "block {block} is no node");
    }
    for node in model.layers.values() {
        assert!(model.graph.find(node).is_some(), "layer {node} is no node");
    }
    judge(&model.graph, s);
}

//! ONNX models of random networks: whole, and every name in them is there before it is read.

use crate::judge::is_small;
use crate::network::network;
use crate::saved::folder;
use crate::source::Source;
use rmnet::models::OutputKind;
use rmnet::models::saved::About;
use rmnet::onnx::{self, OnnxError};
use rmnet::preprocess::Preprocess;
use rmnet::rewrite::{self, Form, Mode};
use std::collections::HashSet;

pub fn onnx(data: &[u8]) {
    let s = &mut Source::new(data);
    let original = network(s);
    if !is_small(&original) {
        return;
    }
    let mode = *s.pick(&[Mode::Structured, Mode::Literal, Mode::Residual]);
    let form = Form { mode, merge: s.one_in(3) };
    let graph = rewrite::for_mode(&original, form).expect("a network is rewritten").graph;
    if !is_small(&graph) {
        return;
    }
    let shape = graph.input_shape();
    let preprocess = Preprocess::imagenet().with_size(shape.size()).for_channels(shape.channels);
    let about = About { output: OutputKind::Features, ..About::new("fuzz", preprocess) };
    let folder = folder();
    let path = folder.path().join("model.onnx");
    match onnx::write(&path, &graph, &about) {
        Ok(()) => {}
        Err(OnnxError::Overflow { .. }) => return,
        Err(e) => panic!("{e}\n{graph}"),
    }
    let file = std::fs::read(&path).expect("the file");
    let model = fields(&file);
    let body = model.iter().find(|(n, _)| *n == 7).map(|(_, bytes)| fields(bytes)).expect("a graph");
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a name");
    let all = |of: &[(u64, &[u8])], n: u64| -> Vec<String> {
        of.iter().filter(|(m, _)| *m == n).map(|(_, bytes)| name(bytes)).collect()
    };
    let mut known: HashSet<String> = HashSet::new();
    for (_, tensor) in body.iter().filter(|(n, _)| *n == 5) {
        known.extend(all(&fields(tensor), 8));
    }
    for (_, input) in body.iter().filter(|(n, _)| *n == 11) {
        known.extend(all(&fields(input), 1));
    }
    for (_, node) in body.iter().filter(|(n, _)| *n == 1) {
        let node = fields(node);
        for input in all(&node, 1) {
            assert!(
                input.is_empty() || known.contains(&input),
                "{input} is read before it is there\n{graph}"
            );
        }
        for output in all(&node, 2) {
            assert!(known.insert(output.clone()), "{output} is made twice\n{graph}");
        }
    }
    for (_, output) in body.iter().filter(|(n, _)| *n == 12) {
        assert!(known.contains(&all(&fields(output), 1)[0]), "the output is not made\n{graph}");
    }
}

/// The fields of a protobuf message that have a length.
///
/// # Panics
/// When it is no message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a whole message");
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = vec![];
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let skipped = match tag & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            5 => 4,
            _ => {
                let length = varint(&mut bytes) as usize;
                found.push((tag >> 3, &bytes[..length]));
                length
            }
        };
        bytes = &bytes[skipped..];
    }
    found
}

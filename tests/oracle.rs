//! The f64 oracle against PyTorch, and the removal against the oracle, on checkpoints that other libraries made.

mod common;

use common::{difference, fixtures};
use rmnet::rewrite::{self, Mode};
use rmnet::{reference, verify};
use std::collections::HashMap;

#[test]
fn the_original_graph_gives_pytorchs_logits_and_blocks() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        let input: Vec<f64> = f.input.iter().map(|v| f64::from(*v)).collect();
        let mut seen = 0;
        let mut logits = vec![];
        reference::visit(&f.model.graph, &input, f.batch, |v, value| {
            let node = &f.model.graph.node(v).name;
            if let Some((_, expected)) = f.blocks.iter().find(|(b, _)| b == node) {
                seen += 1;
                let (_, relative) = difference(value, expected);
                assert!(relative < 1e-10, "{name} {node}: {relative:e}");
            }
            if v == f.model.graph.output() {
                logits = value.to_vec();
            }
        });
        assert_eq!(seen, f.blocks.len(), "{name}: stored blocks found in the graph");
        let (_, relative) = difference(&logits, &f.logits);
        println!("{name:<44} {relative:.1e}");
        assert!(relative < 1e-10, "{name}: {relative:e}");
    }
}

/// Residual connections removed, or parallel branches summed.
#[test]
fn every_block_is_removed_and_proved() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        let input: Vec<f64> = f.input.iter().map(|v| f64::from(*v)).collect();
        let rewritten = rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap();
        let expected = verify::expected(&f.model.graph, &rewritten.blocks, &input, f.batch);
        let (blocks, logits) = verify::check_blocks(&rewritten, &expected, &input, f.batch, &HashMap::new());
        assert_eq!(blocks.len(), f.model.blocks.len(), "{name}");
        for b in &blocks {
            let kept = matches!(b.outcome, verify::BlockOutcome::Kept { .. });
            assert!(!kept, "{name} {}: kept", b.block);
            assert!(b.f64.relative < verify::F64_BOUND, "{name} {}: {:e}", b.block, b.f64.relative);
        }
        assert!(logits.relative < verify::f64_bound(&rewritten), "{name}: {:e}", logits.relative);
    }
}

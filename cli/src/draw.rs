//! Draws a graph: Graphviz's dot, or SVG.

use rmnet::graph::{Graph, Op};
use std::fmt::Write;

/// Height of a node, of the gap below it, width of a node, distance between arcs.
const NODE: usize = 26;
const GAP: usize = 12;
const WIDTH: usize = 430;
const ARC: usize = 14;

/// Graphviz's dot language.
pub fn dot(graph: &Graph) -> String {
    let mut text =
        String::from("digraph rmnet {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
    for v in graph.values() {
        let node = graph.node(v);
        let op = node.op.to_string().replace("\n      ", "\\l").replace('"', "'");
        let _ = writeln!(text, "  n{} [label=\"{}\\n{op}\\n{}\"];", v.index(), node.name, node.shape);
        for input in &node.inputs {
            let _ = writeln!(text, "  n{} -> n{};", input.index(), v.index());
        }
    }
    text + "}\n"
}

/// Nodes are drawn one below the other. An edge that skips nodes, such as a residual connection, is an arc on the right.
pub fn svg(graph: &Graph) -> String {
    let top = |i: usize| 10 + i * (NODE + GAP);
    // Overlapping arcs get separate lanes.
    let mut lanes: Vec<usize> = vec![];
    let mut arcs = vec![];
    for v in graph.values() {
        for input in graph.node(v).inputs.iter().filter(|i| i.index() + 1 < v.index()) {
            let lane = lanes.iter().position(|end| *end <= input.index()).unwrap_or(lanes.len());
            lanes.resize(lanes.len().max(lane + 1), 0);
            lanes[lane] = v.index();
            arcs.push((input.index(), v.index(), lane));
        }
    }
    let (width, height) = (WIDTH + 30 + (lanes.len() + 1) * ARC, top(graph.nodes().len()));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for v in graph.values() {
        let (i, node) = (v.index(), graph.node(v));
        let fill = match node.op {
            Op::Conv2d(_) => "#dbe9f6",
            Op::Add(_) => "#f6d5d5",
            Op::Gate { .. } => "#f6ecd5",
            _ => "#eeeeee",
        };
        let op = node.op.to_string();
        let op = op.lines().next().unwrap_or_default();
        let _ = writeln!(
            text,
            "<rect x=\"10\" y=\"{y}\" width=\"{WIDTH}\" height=\"{NODE}\" rx=\"4\" fill=\"{fill}\" stroke=\"#666\"/>\
             <text x=\"16\" y=\"{a}\">{name}</text><text x=\"16\" y=\"{b}\" fill=\"#555\">{op}</text>\
             <text x=\"{right}\" y=\"{a}\" text-anchor=\"end\" fill=\"#555\">{shape}</text>",
            y = top(i),
            a = top(i) + 11,
            b = top(i) + 22,
            name = escape(&node.name),
            op = escape(op),
            right = WIDTH + 4,
            shape = node.shape,
        );
        if node.inputs.iter().any(|input| input.index() + 1 == i) {
            let (x, from, to) = (10 + WIDTH / 2, top(i) - GAP, top(i));
            let _ = writeln!(text, "<path d=\"M{x} {from}V{to}\" stroke=\"#333\"/>");
        }
    }
    for (from, to, lane) in arcs {
        let (edge, x) = (10 + WIDTH, 10 + WIDTH + (lane + 1) * ARC);
        let (start, end) = (top(from) + NODE / 2, top(to) + NODE / 2);
        let _ = writeln!(
            text,
            "<path d=\"M{edge} {start}H{x}V{end}H{edge}\" fill=\"none\" stroke=\"#c33\" stroke-width=\"1.5\"/>"
        );
    }
    text + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

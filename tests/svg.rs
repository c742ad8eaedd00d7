//! The picture of a plan: well-formed, every buffer named, bytes to scale.

mod common;

use common::fixtures;
use rmnet::plan::{self, Plan, PlanOptions, PlanTarget};
use rmnet::rewrite::{self, Mode};
use roxmltree::{Document, Node};

fn plan(name: &str, mode: Mode) -> Plan {
    let graph = rewrite::for_mode(&fixtures::load(name).model.graph, mode).expect("a graph").graph;
    plan::compile(&graph, &PlanOptions { target: PlanTarget::CPU, ..PlanOptions::default() }).expect("a plan")
}

fn titles(document: &Document<'_>) -> Vec<String> {
    let titles = document.descendants().filter(|n| n.has_tag_name("title"));
    titles.filter_map(|n| n.text().map(Into::into)).collect()
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap_or_else(|| panic!("{name} of {node:?}")).parse().expect("a number")
}

/// The height of a horizontal line.
fn height_of(document: &Document<'_>, id: &str) -> f64 {
    let line = document.descendants().find(|n| n.attribute("id") == Some(id)).expect(id);
    let path = line.attribute("d").expect("a path");
    path.split([' ', 'H']).nth(1).expect("a height").parse().expect("a number")
}

#[test]
fn every_buffer_is_named_and_drawn_to_scale() {
    for name in ["tv_resnet18", "tv_bottleneck", "timm_seresnet18", "tv_mobilenet_v2"] {
        for mode in [Mode::Structured, Mode::Residual] {
            let plan = plan(&format!("tests/fixtures/{name}"), mode);
            let svg = plan.to_svg();
            let document = Document::parse(&svg).unwrap_or_else(|e| panic!("{name} {mode}: {e}"));
            let titles = titles(&document);
            let bytes_per_pixel = {
                // The ends of the axis, from two lines whose bytes are known.
                let slots = document
                    .descendants()
                    .filter(|n| n.has_tag_name("rect") && n.attribute("stroke") == Some("#999"));
                let height: f64 = slots.map(|n| number(n, "height")).sum();
                plan.activation_bytes() as f64 / height
            };
            for (id, _, span) in plan.lives() {
                let buffer = plan.buffer(id);
                let title =
                    titles.iter().find(|t| t.starts_with(&format!("{}: ", buffer.name))).expect(&buffer.name);
                assert!(title.contains("MiB") || title.contains("KiB"), "{title}");
                let of = |t: &str| {
                    t.starts_with(&format!("{}: ", buffer.name))
                        && t.ends_with(&format!("dispatches {} to {}", span.start(), span.end()))
                };
                let found =
                    document.descendants().filter(|n| n.has_tag_name("title") && n.text().is_some_and(of));
                let right = found.filter_map(|t| t.parent()).any(|group| {
                    let rect = group.children().find(|n| n.has_tag_name("rect")).expect("a box");
                    // Heights are written to a tenth of a pixel.
                    (number(rect, "height") * bytes_per_pixel - buffer.shape.bytes() as f64).abs()
                        < 0.2 * bytes_per_pixel
                });
                assert!(right, "{name} {mode}: {} is drawn to scale over {span:?}", buffer.name);
            }
            let (peak, bound) = (height_of(&document, "planned-peak"), height_of(&document, "lower-bound"));
            let expected = (plan.activation_bytes() - plan.lower_bound) as f64 / bytes_per_pixel;
            assert!(
                (bound - peak - expected).abs() < 0.2,
                "{name} {mode}: {bound} - {peak}, expected {expected}"
            );
            assert!(svg.contains("planned peak: ") && svg.contains("lower bound: "));
        }
    }
}

#[test]
fn names_cannot_break_the_picture() {
    let mut plan = plan("tests/fixtures/tv_resnet18", Mode::Structured);
    let name = "<a href=\"x\">&amp;\u{0}\u{ffff} ]]> \u{1f600}";
    for buffer in &mut plan.buffers {
        buffer.name = name.into();
    }
    for dispatch in &mut plan.dispatches {
        dispatch.name = name.into();
    }
    let svg = plan.to_svg();
    let document = Document::parse(&svg).expect("well-formed");
    let shown = name.replace(['\u{0}', '\u{ffff}'], "\u{fffd}");
    assert!(titles(&document).iter().any(|t| t.starts_with(&shown)), "{:?}", titles(&document));
}

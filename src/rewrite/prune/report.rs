//! Report of the changes per layer.

use super::channels::carries;
use super::order::Order;
use crate::graph::{Graph, Op};

/// A convolution before and after, `[before, after]`. The columns add up to the graphs' own figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerLoss {
    /// Its name.
    pub layer: String,
    /// Channels it computes.
    pub own: [usize; 2],
    /// Channels it hands on.
    pub reserved: [usize; 2],
    /// Channels it reads.
    pub inputs: [usize; 2],
    /// Multiply-accumulates of one image.
    pub macs: [usize; 2],
    /// Learned values: [`Conv2d::parameters`](crate::graph::Conv2d::parameters).
    pub parameters: [usize; 2],
}

/// A layer left unchanged, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its name.
    pub layer: String,
    /// Why.
    pub reason: String,
}

pub(super) fn layers(before: &Graph, order: &Order, after: &Graph) -> Vec<LayerLoss> {
    let mut layers = vec![];
    for v in before.values() {
        let node = before.node(v);
        let Op::Conv2d(conv) = &node.op else { continue };
        let pixels = node.shape.height * node.shape.width;
        let handed_on: Vec<bool> = (0..conv.out_channels).map(|o| carries(conv, o)).collect();
        let reserved = [
            handed_on.iter().filter(|c| **c).count(),
            order.kept(v).iter().filter(|o| handed_on[**o]).count(),
        ];
        let mut loss = LayerLoss {
            layer: node.name.clone(),
            own: [conv.out_channels - reserved[0], order.kept(v).len() - reserved[1]],
            reserved,
            inputs: [conv.in_channels, order.kept(node.inputs[0]).len()],
            macs: [conv.macs_per_pixel() * pixels, 0],
            parameters: [conv.parameters(), 0],
        };
        if let Some(Op::Conv2d(left)) = after.find(&node.name).map(|v| &after.node(v).op) {
            loss.macs[1] = left.macs_per_pixel() * pixels;
            loss.parameters[1] = left.parameters();
        }
        layers.push(loss);
    }
    layers
}

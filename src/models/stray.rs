//! Tensors of a file that no layer of its network reads: which may be left unread, and which would make the answer wrong.
//!
//! Training leaves counters, queues, the weights of a loss and the state of an optimizer beside a network. They are listed, not
//! fatal. Anything else that is shaped like a layer may be a part of the function, so that it is an error until a person says
//! otherwise.

use crate::tensor::Tensor;

/// Words of names, between dots and underscores, of what takes no part in inference.
const TRAINING: [&str; 16] = [
    "loss",
    "losses",
    "criterion",
    "criteria",
    "queue",
    "optim",
    "optimizer",
    "optimizers",
    "scheduler",
    "schedulers",
    "scaler",
    "metric",
    "metrics",
    "accuracy",
    "ema",
    "hparams",
];

/// What became of a tensor that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// No part of a function: it is listed.
    Ignored,
    /// It may be a layer.
    Layer,
}

/// Judges a tensor under a name of no block. `channels` are those of the network's input.
pub(super) fn judge(name: &str, tensor: &Tensor, channels: usize) -> Stray {
    let last = name.rsplit('.').next().unwrap_or(name);
    let training = name.split(['.', '_']).any(|word| TRAINING.iter().any(|t| word.eq_ignore_ascii_case(t)));
    // What a normalisation of the input keeps; a layer's vectors are called otherwise.
    let layer = ["weight", "bias", "running_mean", "running_var"].contains(&last);
    let normalise = !layer && tensor.len() <= channels.max(3);
    match training || tensor.len() <= 1 && !layer || normalise {
        true => Stray::Ignored,
        false => Stray::Layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_training_leaves_is_ignored_and_layers_are_not() {
        let judged = |name: &str, shape: &[usize]| {
            judge(name, &Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]), 3)
        };
        for (name, shape) in [
            ("queue", &[128, 64][..]),
            ("module.queue_ptr", &[1]),
            ("n_averaged", &[]),
            ("epoch", &[1]),
            ("criterion.weight", &[10]),
            ("loss_fn.weight", &[10, 512]),
            ("normalize.mean", &[1, 3, 1, 1]),
            ("pixel_std", &[3]),
            ("logit_scale", &[]),
            ("optimizer.state.0.exp_avg", &[64, 3, 7, 7]),
            ("optimizer_state_dict.state.0.exp_avg", &[64]),
        ] {
            assert_eq!(judged(name, shape), Stray::Ignored, "{name}");
        }
        for (name, shape) in [
            ("projector.0.weight", &[128, 512][..]),
            ("bottleneck.running_mean", &[512]),
            ("bottleneck.bias", &[1]),
            ("decoder.conv.weight", &[8, 8, 3, 3]),
            ("scale", &[512]),
        ] {
            assert_eq!(judged(name, shape), Stray::Layer, "{name}");
        }
    }
}

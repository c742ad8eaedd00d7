//! Classifies tensors that no layer reads: those that can be ignored, and those that may be part of the network.
//!
//! Training leaves counters, queues, loss weights and optimizer state beside a network. These are listed as ignored. Any other tensor may
//! be part of the function, even a single value (a temperature, the exponent of a pool). It is an error unless the user states otherwise.

use crate::tensor::Tensor;

/// Modules used only in training.
const LOSSES: [&str; 7] = ["loss", "losses", "loss_fn", "loss_func", "criterion", "criteria", "criterions"];

/// Optimizer state per parameter.
const STATE: [&str; 9] = [
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "acc_delta",
    "exp_inf",
    "ema_sq",
];

/// Scalars that count steps or record training metrics.
const COUNTERS: [&str; 14] = [
    "n_averaged",
    "num_updates",
    "epoch",
    "epochs",
    "step",
    "steps",
    "global_step",
    "iter",
    "iteration",
    "iterations",
    "last_epoch",
    "best",
    "best_acc",
    "best_loss",
];

/// Tensors of an input normalisation.
const NORMALISE: [&str; 10] = [
    "mean",
    "std",
    "var",
    "pixel_mean",
    "pixel_std",
    "image_mean",
    "image_std",
    "img_mean",
    "img_std",
    "norm_mean",
];

/// The class of an unread tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Stray {
    /// Not part of the function; listed as ignored.
    Ignored,
    /// It may be a layer.
    Layer,
}

/// Whether a name is that of a mean or deviation with which a network normalises its input.
pub fn normalises(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| NORMALISE.contains(&last))
}

/// Classifies a tensor whose name is not under a block. `channels` is the number of input channels, `head` whether the network has a head.
pub(in crate::models) fn judge(name: &str, tensor: &Tensor, channels: usize, head: bool) -> Stray {
    let parts: Vec<&str> = name.split('.').collect();
    let last = parts.last().copied().unwrap_or_default();
    let layer = ["weight", "bias", "running_mean", "running_var"].contains(&last);
    // In a file without a head, a loss's matrix may be the head.
    let loss = parts.iter().any(|part| LOSSES.contains(part)) && (head || tensor.shape().len() < 2);
    let numbered = parts.windows(2).any(|pair| pair[0] == "state" && pair[1].parse::<usize>().is_ok());
    let first = parts.first().copied().unwrap_or_default();
    let training = ["optim", "lr_sched", "sched", "scaler", "amp"].iter().any(|word| first.starts_with(word));
    let state = STATE.contains(&last) || numbered || training && !layer;
    let queue = parts.contains(&"queue") || last.starts_with("queue_ptr");
    let counter = tensor.len() <= 1 && COUNTERS.contains(&last);
    let normalise = normalises(name) && tensor.len() <= channels.max(3);
    match loss || state || queue || counter || normalise {
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
            judge(name, &Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]), 3, true)
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
            ("opt.state.0.exp_avg", &[64, 3, 7, 7]),
            ("adam.exp_avg_sq", &[64]),
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
            ("logit_scale", &[]),
            ("global_pool.p", &[1]),
            ("gamma", &[3]),
            ("metric_fc.weight", &[7, 40]),
            ("queue_fc.weight", &[7, 40]),
            ("optim_head.weight", &[7, 40]),
            ("scaler.weight", &[40]),
        ] {
            assert_eq!(judged(name, shape), Stray::Layer, "{name}");
        }
    }
}

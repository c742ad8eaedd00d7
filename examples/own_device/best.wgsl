// The position of the largest logit, and its value.
struct Best {
    index: u32,
    logit: f32,
}
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> best: Best;

@compute @workgroup_size(1)
fn main() {
    best = Best(0, logits[0]);
    for (var i = 1u; i < arrayLength(&logits); i++) {
        if (logits[i] > best.logit) {
            best = Best(i, logits[i]);
        }
    }
}

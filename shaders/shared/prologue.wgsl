// Scale and shift of a plane, applied before the convolution.
struct Prologue {
    scale: vec4<f32>,
    shift: vec4<f32>,
}

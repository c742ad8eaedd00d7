// The padding value of a max pool, below every convolution result. WGSL has no infinity.
fn lowest() -> vec4<f32> {
    return vec4<f32>(-3.4028234663852886e38);
}

// Below every value a convolution can give: what padding of a max pool counts as. WGSL has no infinity.
fn lowest() -> vec4<f32> {
    return vec4<f32>(-3.4028234663852886e38);
}

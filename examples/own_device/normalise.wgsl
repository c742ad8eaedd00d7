// Texels to planes of normalised values. FACTOR, MEAN and STD stand before this.
@group(0) @binding(0) var image: texture_2d<f32>;
@group(0) @binding(1) var<storage, read_write> planes: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) at: vec3u) {
    let size = textureDimensions(image);
    if (any(at.xy >= size)) {
        return;
    }
    let value = (textureLoad(image, at.xy, 0).rgb * FACTOR - MEAN) / STD;
    for (var c = 0u; c < 3; c++) {
        planes[(c * size.y + at.y) * size.x + at.x] = value[c];
    }
}

// Draws the picture over the whole window.
@group(0) @binding(0) var picture: texture_2d<f32>;

struct Corner {
    @builtin(position) at: vec4f,
    @location(0) uv: vec2f,
}

@vertex
fn corner(@builtin(vertex_index) index: u32) -> Corner {
    // One triangle that covers the window.
    let uv = vec2f(f32(index << 1u & 2u), f32(index & 2u));
    return Corner(vec4f(uv.x * 2.0 - 1.0, 1.0 - uv.y * 2.0, 0.0, 1.0), uv);
}

@fragment
fn pixel(corner: Corner) -> @location(0) vec4f {
    let size = textureDimensions(picture);
    return textureLoad(picture, min(vec2u(corner.uv * vec2f(size)), size - 1u), 0);
}

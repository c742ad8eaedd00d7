// The channels of a quad.
fn channels_of(quad: u32) -> vec4<u32> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
}

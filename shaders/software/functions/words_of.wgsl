// The two words of a 64-bit integer.
fn words_of(raw: u64) -> vec2<u32> {
    return vec2<u32>(u32(raw), u32(raw >> 32u));
}

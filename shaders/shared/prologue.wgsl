// What an operand's channels are scaled and shifted by before they are convolved.
struct Prologue {
    scale: vec4<f32>,
    shift: vec4<f32>,
}

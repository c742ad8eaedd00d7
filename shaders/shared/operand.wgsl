// Access to K range 0, a view of the buffer in0. Each further range has its own numbered copy of these functions.
//
// Element (y, x) of the view is the buffer's element (y * R0_STEP, x * R0_STEP) or, with R0_AVG_POOL, the mean of the 2x2 window there.
// With R0_HAS_PROLOGUE, relu(scale * element + shift) is applied to each element first, with a scale and shift per channel (relu is a
// placeholder for the function).

// Scale and shift of a plane of the view.
fn prologue_r0(plane: u32) -> Prologue {
    //# if
    if R0_HAS_PROLOGUE {
        let at = R0_PROLOGUE + 2u * PARAMETER * plane;
        return Prologue(load_parameters(at), load_parameters(at + PARAMETER));
    } else {
        return Prologue();
    }
}

// Offset of row y of the view within a plane, in elements. With R0_CLAMP_Y, y is clamped to the last row.
fn row_r0(y: u32) -> u32 {
    //# if
    if R0_CLAMP_Y {
        return min(y, R0_HEIGHT - 1u) * (R0_STEP * R0_BUFFER_WIDTH);
    } else {
        return y * (R0_STEP * R0_BUFFER_WIDTH);
    }
}

// Offset of column x of the view, likewise.
fn column_r0(x: u32) -> u32 {
    //# if
    if R0_CLAMP_X {
        return min(x, R0_WIDTH - 1u) * R0_STEP;
    } else {
        return x * R0_STEP;
    }
}

// Whether (y, x) lies in the view; y and x below zero have wrapped. A direction without R0_MASK is not tested.
fn inside_r0(y: u32, x: u32) -> bool {
    var inside = true;
    //# if
    if R0_MASK_Y {
        inside = y < R0_HEIGHT;
    }
    //# if
    if R0_MASK_X {
        inside = inside & (x < R0_WIDTH);
    }
    return inside;
}

fn element_r0(at: u32, prologue: Prologue) -> vec4<f32> {
    //# if
    if R0_HAS_PROLOGUE {
        return relu(load_in0(at) * prologue.scale + prologue.shift);
    } else {
        return load_in0(at);
    }
}

// The view's element at element `at` of the buffer, at the offsets row = row_r0(y) and column = column_r0(x) within its plane.
fn load_r0(at: u32, row: u32, column: u32, prologue: Prologue) -> vec4<f32> {
    //# if
    if R0_AVG_POOL {
        // At an odd edge the last row or column is counted twice, which gives the mean of the elements inside.
        let right = select(0u, 1u, column + 1u < R0_BUFFER_WIDTH);
        let below = select(0u, R0_BUFFER_WIDTH, row + R0_BUFFER_WIDTH < R0_PLANE);
        let upper = element_r0(at, prologue) + element_r0(at + right, prologue);
        return 0.25 * (upper + element_r0(at + below, prologue) + element_r0(at + below + right, prologue));
    } else {
        return element_r0(at, prologue);
    }
}

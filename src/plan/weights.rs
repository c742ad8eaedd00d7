//! Weights of a dispatch, borrowed from the checkpoint: they are read, scaled and rounded only when packed.

use super::{Plan, PlanError};
use crate::graph::Weight;
use crate::kernel::{ConvParameters, Precision};
use std::ops::Range;
use std::sync::Arc;

/// The weight of one K range, `[out, in / groups, height, width]`, as pieces of checkpoint tensors. Elements covered by no piece are
/// zero; overlapping pieces are summed.
#[derive(Clone, Debug)]
pub struct KWeight {
    /// `[out, in / groups, height, width]` of the whole.
    pub shape: [usize; 4],
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    source: PieceSource,
    to_row: usize,
    to_col: usize,
    tap: Option<[usize; 2]>,
}

#[derive(Clone, Debug)]
enum PieceSource {
    Tensor { weight: Weight, rows: Range<usize>, cols: Range<usize> },
    Diagonal(Arc<[f64]>),
}

impl KWeight {
    /// All zero.
    pub fn zero(shape: [usize; 4]) -> KWeight {
        KWeight { shape, pieces: vec![] }
    }

    /// Adds rows and input columns of a tensor, its first element at (`to_row`, `to_col`). With `tap`, a 1x1 tensor is placed at that tap
    /// of the window.
    pub fn add_tensor(
        &mut self,
        weight: &Weight,
        rows: Range<usize>,
        cols: Range<usize>,
        to_row: usize,
        to_col: usize,
        tap: Option<[usize; 2]>,
    ) {
        let source = PieceSource::Tensor { weight: weight.clone(), rows, cols };
        self.pieces.push(Piece { source, to_row, to_col, tap });
    }

    /// Adds factors at `tap` from (`to_row`, `to_col`) down the diagonal.
    pub fn add_diagonal(&mut self, factors: Arc<[f64]>, to_row: usize, to_col: usize, tap: [usize; 2]) {
        self.pieces.push(Piece { source: PieceSource::Diagonal(factors), to_row, to_col, tap: Some(tap) });
    }

    /// The weight of output channels `rows` alone.
    pub fn rows(&self, rows: Range<usize>) -> KWeight {
        let [_, cols, kh, kw] = self.shape;
        let mut part = KWeight::zero([rows.len(), cols, kh, kw]);
        for p in &self.pieces {
            let len = match &p.source {
                PieceSource::Tensor { rows, .. } => rows.len(),
                PieceSource::Diagonal(factors) => factors.len(),
            };
            let (lo, hi) = (rows.start.max(p.to_row), rows.end.min(p.to_row + len));
            if lo >= hi {
                continue;
            }
            let (skip, to_row) = (lo - p.to_row, lo - rows.start);
            match &p.source {
                PieceSource::Tensor { weight, rows: source, cols } => {
                    let source = source.start + skip..source.start + skip + hi - lo;
                    part.add_tensor(weight, source, cols.clone(), to_row, p.to_col, p.tap);
                }
                PieceSource::Diagonal(factors) => {
                    let factors = factors[skip..skip + hi - lo].into();
                    part.add_diagonal(factors, to_row, p.to_col + skip, p.tap.unwrap_or([0, 0]));
                }
            }
        }
        part
    }

    /// The whole weight, folded in f64 and rounded once to f32. Its source tensors are released from memory; a second call reads the file
    /// again.
    pub fn to_f32(&self) -> Vec<f32> {
        let values = self.formed();
        for piece in &self.pieces {
            if let PieceSource::Tensor { weight, .. } = &piece.source {
                weight.release();
            }
        }
        values
    }

    fn formed(&self) -> Vec<f32> {
        let [out, cols_all, kh, kw] = self.shape;
        let taps = kh * kw;
        if let [Piece { source: PieceSource::Tensor { weight, rows, cols }, to_row: 0, to_col: 0, tap: None }] =
            self.pieces.as_slice()
            && rows.len() == out
            && *cols == (0..weight.shape()[1])
        {
            return weight.rows_f32(rows.clone());
        }
        let mut sum = vec![0.0f64; out * cols_all * taps];
        for p in &self.pieces {
            match &p.source {
                PieceSource::Diagonal(factors) => {
                    let [ty, tx] = p.tap.unwrap_or([kh / 2, kw / 2]);
                    for (i, factor) in factors.iter().enumerate() {
                        sum[((p.to_row + i) * cols_all + p.to_col + i) * taps + ty * kw + tx] += factor;
                    }
                }
                PieceSource::Tensor { weight, rows, cols } => {
                    let inner = weight.shape()[2] * weight.shape()[3];
                    for (i, r) in rows.clone().enumerate() {
                        let base = ((p.to_row + i) * cols_all + p.to_col) * taps;
                        let row = weight.row(r);
                        for (j, v) in row[cols.start * inner..cols.end * inner].iter().enumerate() {
                            let at = match p.tap {
                                Some([ty, tx]) => j * taps + ty * kw + tx,
                                None => j,
                            };
                            sum[base + at] += v;
                        }
                    }
                }
            }
        }
        sum.into_iter().map(|v| v as f32).collect()
    }
}

/// Weights and bias of a convolution dispatch.
#[derive(Clone, Debug)]
pub struct ConvWeights {
    /// One per K range of the spec.
    pub k_ranges: Vec<KWeight>,
    /// One per output channel.
    pub bias: Vec<f32>,
    /// PReLU slopes, one per output channel; empty if no activation is PReLU.
    pub slopes: Vec<f32>,
    /// Per K range with a prologue, scale and shift of each channel.
    pub prologues: Vec<Option<(Vec<f32>, Vec<f32>)>>,
}

impl ConvWeights {
    /// Values of all K ranges and the bias, in f32 bytes before any packing; at most [`usize::MAX`].
    pub fn bytes(&self) -> usize {
        let of_range = |k: &KWeight| k.shape.iter().fold(1, |n: usize, d| n.saturating_mul(*d));
        let values = self.k_ranges.iter().map(of_range).fold(0, usize::saturating_add);
        let prologues: usize =
            self.prologues.iter().flatten().map(|(scale, shift)| scale.len() + shift.len()).sum();
        values.saturating_add(self.bias.len() + self.slopes.len() + prologues).saturating_mul(4)
    }

    /// Computes all values and passes them to `then`.
    pub fn with_values<R>(&self, then: impl FnOnce(&ConvParameters<'_>) -> R) -> R {
        let k_ranges: Vec<Vec<f32>> = self.k_ranges.iter().map(KWeight::to_f32).collect();
        let k_ranges: Vec<&[f32]> = k_ranges.iter().map(Vec::as_slice).collect();
        then(&ConvParameters {
            k_ranges: &k_ranges,
            bias: &self.bias,
            slopes: &self.slopes,
            prologues: &self.prologues,
        })
    }
}

/// Refuses weights that a precision cannot represent: one beyond its range, or a layer that becomes all zero.
pub(super) fn check(plan: &Plan, precision: Precision) -> Result<(), PlanError> {
    if precision == Precision::F32 {
        return Ok(());
    }
    for d in &plan.dispatches {
        for weight in d.weights.iter().flat_map(|w| &w.k_ranges) {
            let refuse = |what| Err(PlanError::Weights { layer: d.name.clone(), what });
            // The largest magnitude decides; NaN is kept.
            let larger = |m: f32, v: f32| if v.abs() > m || v.is_nan() { v.abs() } else { m };
            let largest = weight.to_f32().into_iter().fold(0.0, larger);
            let stored = precision.stored(largest);
            if stored.is_nan() {
                return refuse(format!(
                    "its weights, {largest:e} at most, are beyond the range of {precision}"
                ));
            }
            if largest > 0.0 && stored == 0.0 {
                return refuse(format!("its weights, {largest:e} at most, all become 0 in {precision}"));
            }
        }
    }
    Ok(())
}

//! Recovers block structure from a plain weight: the inverse of [`Weight::flattened`].

use super::{Block, BlockWeight, Conv2d, Weight};
use crate::threads;
use std::ops::Range;

/// Minimum channels of a block. Structure comes in channel ranges; shorter runs are coincidence.
const MIN_RUN: usize = 4;

/// Number of rows whose columns one thread counts at a time.
const ROWS_A_PART: usize = 64;

/// Maximum ranges of rows, or of adjacent columns, that are distinguished. A chain carries one range. More are fragments left by
/// pruning, and would cost a dispatch each.
const MAX_ROW_RANGES: usize = 3;

/// How far a Dirac row is from exact if a batch norm was divided out in f32: the tolerance to pass to [`Conv2d::recognised`] for
/// chains written by other tools. 8 units in the last place at 1.
pub const NEAR_DIRAC: f64 = 1.0 / (1u64 << 20) as f64;

/// A convolution in block form.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// The same function in block weights (up to `deviation`).
    pub conv: Conv2d,
    /// Largest difference between a weight or bias and the Dirac that replaced it; 0 if the function is exactly the same.
    pub deviation: f64,
}

/// The kind of one row of a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Row {
    /// One factor, at the centre tap of one input channel.
    Single {
        input: usize,
        factor: f64,
    },
    /// A quarter at each tap of the 2x2 window that begins at the centre.
    Mean {
        input: usize,
    },
    Other,
}

/// The weights of one input channel in a range of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Column {
    /// Number of nonzero values (`count`), and of those outside the centre tap (`beside`).
    count: usize,
    beside: usize,
    /// Row and value of the last nonzero value.
    row: usize,
    value: f64,
}

impl Conv2d {
    /// Finds block structure in a plain weight ([`Conv2d::as_plain`]), for an input of `[height, width]`: Dirac, diagonal and
    /// 2x2-mean rows; zero, Dirac, diagonal and pointwise column ranges; and groups. `None` if the weight has none of these.
    ///
    /// Rows become a Dirac if their factors are within `tolerance` of 1 and their biases within `tolerance` of 0. A tolerance of
    /// 0 changes no value, and rows that are not exactly a Dirac become a diagonal.
    pub fn recognised(&self, input: [usize; 2], tolerance: f64) -> Option<Recognised> {
        let (weight, groups) = self.as_plain()?;
        let centre = self.centre().filter(|_| self.output_size(input) == Some(self.strided_size(input)))?;
        let even = input.iter().all(|n| n.is_multiple_of(2));
        let means = self.stride == [2, 2] && self.dilation == [1, 1] && even;
        let view =
            View { conv: self, weight, groups, centre: centre[0] * self.kernel[1] + centre[1], tolerance };
        let rows: Vec<Row> = threads::map(self.out_channels, |o| view.row(o, means));

        let mut bias = self.bias.clone();
        let mut deviation = 0.0f64;
        let mut blocks = vec![];
        let mut ranges = 0;
        // A grouped weight is only cut between groups.
        let unit = if groups > 1 { self.out_channels / groups } else { 1 };
        let mut rest = 0;
        let mut o = 0;
        while o < rows.len() {
            if !o.is_multiple_of(unit) {
                o += 1;
                continue;
            }
            let mut end = run(&rows, o);
            end -= end % unit;
            if end < o + MIN_RUN.min(rows.len()) {
                o += 1;
                continue;
            }
            ranges += 1 + usize::from(rest < o);
            blocks.extend(view.rest(rest..o, &mut deviation));
            let (block, near) = view.run_block(&rows, o..end);
            if let Some(off) = near {
                bias[o..end].fill(0.0);
                deviation = deviation.max(off);
            }
            blocks.push(block);
            (o, rest) = (end, end);
        }
        blocks.extend(view.rest(rest..rows.len(), &mut deviation));
        if ranges + usize::from(rest < rows.len()) > MAX_ROW_RANGES {
            return None;
        }
        let whole = |b: &Block| b.out.len() == self.out_channels && b.input.len() == self.in_channels;
        let same = matches!(blocks.as_slice(), [b] if whole(b) && matches!(&b.weight, BlockWeight::Dense { groups: g, .. } if *g == groups));
        // Means in a run that is too short for a block stay plain taps.
        let block = |o: usize| blocks.iter().find(|b| b.out.contains(&o)).map(|b| &b.weight);
        let tapped = |(o, row): (usize, &Row)| {
            matches!(row, Row::Mean { .. }) && !matches!(block(o), Some(BlockWeight::AvgPool2x2))
        };
        let even = self.even && rows.iter().enumerate().any(tapped);
        (!same).then(|| Recognised { conv: Conv2d { blocks, bias, even, ..self.clone() }, deviation })
    }
}

impl Row {
    fn factor(self) -> f64 {
        match self {
            Row::Single { factor, .. } => factor,
            _ => 1.0,
        }
    }
}

/// End of the run that starts at `start`: rows of the same kind that read consecutive inputs.
fn run(rows: &[Row], start: usize) -> usize {
    let follows = |i: &usize| match (rows[start], rows[*i]) {
        (Row::Single { input: a, .. }, Row::Single { input: b, .. }) => b == a + i - start,
        (Row::Mean { input: a }, Row::Mean { input: b }) => b == a + i - start,
        _ => false,
    };
    start + (start..rows.len()).take_while(follows).count()
}

/// A plain weight with the data needed to analyse it.
struct View<'a> {
    conv: &'a Conv2d,
    weight: &'a Weight,
    groups: usize,
    /// Index of the centre tap.
    centre: usize,
    tolerance: f64,
}

impl View<'_> {
    fn taps(&self) -> usize {
        self.conv.kernel[0] * self.conv.kernel[1]
    }

    fn row(&self, o: usize, means: bool) -> Row {
        let (taps, width) = (self.taps(), self.conv.kernel[1]);
        let values = self.weight.row(o);
        let first = o / (self.conv.out_channels / self.groups) * self.weight.shape()[1];
        let mut found: [(usize, f64); 4] = [(0, 0.0); 4];
        let mut count = 0;
        for (i, v) in values.iter().enumerate().filter(|(_, v)| v.abs() > 0.0) {
            if count == found.len() {
                return Row::Other;
            }
            found[count] = (i, *v);
            count += 1;
        }
        match found[..count] {
            [(at, factor)] if at % taps == self.centre => Row::Single { input: first + at / taps, factor },
            [(a, q), (b, r), (c, s), (d, t)] if means && [q, r, s, t] == [0.25; 4] => {
                let window = [self.centre, self.centre + 1, self.centre + width, self.centre + width + 1];
                let channel = a / taps;
                let is_window = window[3] < taps && [a, b, c, d] == window.map(|t| channel * taps + t);
                if is_window { Row::Mean { input: first + channel } } else { Row::Other }
            }
            _ => Row::Other,
        }
    }

    /// The block of a run of rows of the same kind, and its deviation if it becomes a Dirac within the tolerance.
    fn run_block(&self, rows: &[Row], out: Range<usize>) -> (Block, Option<f64>) {
        let factors: Vec<f64> = rows[out.clone()].iter().map(|r| r.factor()).collect();
        let near = self.near(&factors, &self.conv.bias[out.clone()]);
        let input = match rows[out.start] {
            Row::Single { input, .. } | Row::Mean { input } => input..input + out.len(),
            Row::Other => unreachable!("no run"),
        };
        let exact = factors.iter().all(|f| *f == 1.0);
        let weight = match rows[out.start] {
            Row::Mean { .. } => BlockWeight::AvgPool2x2,
            _ if exact || near.is_some() => BlockWeight::Dirac,
            _ => BlockWeight::Diagonal(factors.into()),
        };
        let near = near.filter(|_| matches!(weight, BlockWeight::Dirac));
        (Block { out, input, weight }, near)
    }

    /// The largest distance of factors from 1 and of biases from 0, if it is within the tolerance.
    fn near(&self, factors: &[f64], bias: &[f64]) -> Option<f64> {
        let off = factors.iter().map(|f| (f - 1.0).abs()).chain(bias.iter().map(|b| b.abs()));
        let off = off.fold(0.0, f64::max);
        (off <= self.tolerance).then_some(off)
    }

    /// Blocks of rows that belong to no run. A factor that is replaced by 1 raises `deviation`.
    fn rest(&self, rows: Range<usize>, deviation: &mut f64) -> Vec<Block> {
        if rows.is_empty() {
            return vec![];
        }
        if self.groups > 1 {
            return vec![self.grouped_rest(rows)];
        }
        let columns = self.columns(&rows);
        let mut found = ranges(&columns, self.taps() > 1);
        if found.len() > MAX_ROW_RANGES {
            found = vec![(ColumnKind::Dense, 0..columns.len())];
        }
        let block = |(kind, input)| self.column_block(kind, &rows, input, &columns, deviation);
        found.into_iter().filter_map(block).collect()
    }

    /// The grouped block of some rows. Runs end between groups, so only whole groups remain.
    fn grouped_rest(&self, rows: Range<usize>) -> Block {
        let per_out = self.conv.out_channels / self.groups;
        let [_, per_in, ..] = self.weight.shape();
        let (first, end) = (rows.start / per_out, rows.end.div_ceil(per_out));
        let inputs: Vec<usize> = (0..per_in).collect();
        let weight = self.weight.selected(&rows.clone().collect::<Vec<_>>(), &inputs);
        let weight = BlockWeight::Dense { weight, groups: end - first };
        Block { out: rows, input: first * per_in..end * per_in, weight }
    }

    /// The column of every input channel, for some rows of an ungrouped weight.
    fn columns(&self, rows: &Range<usize>) -> Vec<Column> {
        let taps = self.taps();
        let [_, per_in, ..] = self.weight.shape();
        let empty = || vec![Column::default(); per_in];
        let of_part = |part: usize| {
            let mut columns = empty();
            for row in (rows.start + part * ROWS_A_PART..rows.end).take(ROWS_A_PART) {
                for (i, v) in self.weight.row(row).into_iter().enumerate().filter(|(_, v)| *v != 0.0) {
                    let c = &mut columns[i / taps];
                    let beside = usize::from(i % taps != self.centre);
                    *c = Column { count: c.count + 1, beside: c.beside + beside, row, value: v };
                }
            }
            columns
        };
        let parts = threads::map(rows.len().div_ceil(ROWS_A_PART), of_part).into_iter();
        let joined =
            |a: Vec<Column>, b: Vec<Column>| a.iter().zip(&b).map(|(a, b)| Column::joined(*a, *b)).collect();
        parts.reduce(joined).unwrap_or_else(empty)
    }

    /// The block of some rows over input channels of one kind; `None` if it is zero.
    fn column_block(
        &self,
        kind: ColumnKind,
        rows: &Range<usize>,
        input: Range<usize>,
        columns: &[Column],
        deviation: &mut f64,
    ) -> Option<Block> {
        let inputs: Vec<usize> = input.clone().collect();
        let dense = || self.weight.selected(&rows.clone().collect::<Vec<_>>(), &inputs);
        match kind {
            ColumnKind::Zero => None,
            ColumnKind::Diagonal => {
                let factors: Vec<f64> = columns[input.clone()].iter().map(|c| c.value).collect();
                let out = columns[input.start].row..columns[input.start].row + input.len();
                let weight = match self.near(&factors, &[]) {
                    Some(off) => {
                        *deviation = deviation.max(off);
                        BlockWeight::Dirac
                    }
                    None => BlockWeight::Diagonal(factors.into()),
                };
                Some(Block { out, input, weight })
            }
            ColumnKind::Pointwise => {
                let weight = BlockWeight::Pointwise(dense().at_tap(self.centre));
                Some(Block { out: rows.clone(), input, weight })
            }
            ColumnKind::Dense => {
                let weight = dense();
                let groups = self.groups_of(&weight);
                let weight = BlockWeight::Dense { weight: weight.grouped(groups), groups };
                Some(Block { out: rows.clone(), input, weight })
            }
        }
    }

    /// The number of groups of a dense weight in which each row reads one range of inputs, as in the literal form of a grouped
    /// block.
    fn groups_of(&self, weight: &Weight) -> usize {
        let [out, inputs, ..] = weight.shape();
        let taps = self.taps();
        let spans: Vec<Option<(usize, usize)>> = threads::map(out, |o| {
            let row = weight.row(o);
            let first = row.iter().position(|v| *v != 0.0)?;
            Some((first / taps, row.iter().rposition(|v| *v != 0.0)? / taps))
        });
        let fits = |groups: &usize| {
            let (per_out, per_in) = (out / groups, inputs / groups);
            spans.iter().enumerate().all(|(o, span)| {
                span.is_none_or(|(first, last)| first / per_in == o / per_out && last / per_in == o / per_out)
            })
        };
        let divides = |g: &usize| out.is_multiple_of(*g) && inputs.is_multiple_of(*g);
        (2..=out.min(inputs)).rev().filter(divides).find(fits).unwrap_or(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ColumnKind {
    Zero,
    Diagonal,
    Pointwise,
    Dense,
}

impl Column {
    fn joined(a: Column, b: Column) -> Column {
        let last = if b.count > 0 { b } else { a };
        Column { count: a.count + b.count, beside: a.beside + b.beside, ..last }
    }

    /// The kind of the column by itself, ignoring its neighbours.
    fn kind(&self, windowed: bool) -> ColumnKind {
        match self {
            Column { count: 0, .. } => ColumnKind::Zero,
            Column { beside: 0, .. } if windowed => ColumnKind::Pointwise,
            _ => ColumnKind::Dense,
        }
    }
}

/// Ranges of input channels of one kind. A range that is too short for its kind is dense.
fn ranges(columns: &[Column], windowed: bool) -> Vec<(ColumnKind, Range<usize>)> {
    // Each kind is paired with the start of its diagonal, so that two successive diagonals stay two blocks.
    let mut kinds: Vec<(ColumnKind, usize)> = columns.iter().map(|c| (c.kind(windowed), 0)).collect();
    let mut i = 0;
    while i < columns.len() {
        let follows =
            |(k, c): &(usize, &Column)| c.count == 1 && c.beside == 0 && c.row == columns[i].row + k;
        let diagonal = columns[i..].iter().enumerate().take_while(follows).count();
        if diagonal >= MIN_RUN.min(columns.len()) {
            kinds[i..i + diagonal].fill((ColumnKind::Diagonal, i));
        }
        i += diagonal.max(1);
    }
    // A few zero columns among pointwise columns, such as pruning leaves, do not split them.
    let sparse = |k: &(ColumnKind, usize)| matches!(k.0, ColumnKind::Pointwise | ColumnKind::Zero);
    for run in kinds.chunk_by_mut(|a, b| sparse(a) && sparse(b)) {
        let few =
            run.chunk_by(|a, b| a == b).all(|part| part[0].0 != ColumnKind::Zero || part.len() < MIN_RUN);
        if few && run.iter().any(|k| k.0 == ColumnKind::Pointwise) {
            run.fill((ColumnKind::Pointwise, 0));
        }
    }
    let mut found: Vec<(ColumnKind, Range<usize>)> = vec![];
    let mut start = 0;
    while start < kinds.len() {
        let len = kinds[start..].iter().take_while(|k| **k == kinds[start]).count();
        let short = len < MIN_RUN.min(columns.len());
        let kind = if short { ColumnKind::Dense } else { kinds[start].0 };
        match found.last_mut() {
            Some((ColumnKind::Dense, range)) if kind == ColumnKind::Dense => range.end = start + len,
            _ => found.push((kind, start..start + len)),
        }
        start += len;
    }
    found
}

//! A graph as text: one line per node, followed by the blocks of its weight.

use super::{Activation, BlockWeight, Conv2d, Graph, Op};
use std::fmt;

fn pair(v: [usize; 2]) -> String {
    if v[0] == v[1] { v[0].to_string() } else { format!("{}x{}", v[0], v[1]) }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::PRelu(_) => "prelu",
            Activation::Sigmoid => "sigmoid",
        })
    }
}

impl fmt::Display for Conv2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "conv {}x{} /{} pad {}",
            self.kernel[0],
            self.kernel[1],
            pair(self.stride),
            pair(self.padding)
        )?;
        if self.padding_end != self.padding {
            write!(f, " pad end {}", pair(self.padding_end))?;
        }
        if self.dilation != [1, 1] {
            write!(f, " dilation {}", pair(self.dilation))?;
        }
        match self.uniform_activation() {
            Some(Activation::Identity) => {}
            Some(a) => write!(f, " {a}")?,
            None => {
                for (range, a) in &self.activation {
                    write!(f, " {a}[{}..{}]", range.start, range.end)?;
                }
            }
        }
        if let Some((_, groups)) = self.as_plain() {
            return if groups > 1 { write!(f, " groups {groups}") } else { Ok(()) };
        }
        for b in &self.blocks {
            write!(
                f,
                "\n      out {}..{} <- in {}..{} ",
                b.out.start, b.out.end, b.input.start, b.input.end
            )?;
            match &b.weight {
                BlockWeight::Dense { groups: 1, .. } => write!(f, "dense")?,
                BlockWeight::Dense { groups, .. } => write!(f, "dense, groups {groups}")?,
                BlockWeight::Pointwise(_) => write!(f, "pointwise")?,
                BlockWeight::Dirac => write!(f, "dirac")?,
                BlockWeight::Diagonal(_) => write!(f, "diagonal")?,
                BlockWeight::AvgPool2x2 => write!(f, "mean 2x2")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Input(_) => write!(f, "input"),
            Op::Conv2d(conv) => conv.fmt(f),
            Op::BatchNorm(bn) => write!(f, "batch_norm eps {}", bn.epsilon),
            Op::Activation(a) => a.fmt(f),
            Op::Add(Activation::Identity) => write!(f, "add"),
            Op::Add(a) => write!(f, "add {a}"),
            Op::MaxPool(p) => {
                write!(
                    f,
                    "max_pool {}x{} /{} pad {}",
                    p.kernel[0],
                    p.kernel[1],
                    pair(p.stride),
                    pair(p.padding)
                )
            }
            Op::AvgPool2x2 => write!(f, "mean_pool 2x2 /2"),
            Op::Slice(range) => write!(f, "channels {}..{}", range.start, range.end),
            Op::Gate { first } => write!(f, "gate from channel {first}"),
            Op::GlobalAverage => write!(f, "global_average"),
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes().iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(ToString::to_string).collect();
            let text = node.op.to_string();
            let (head, blocks) = text.split_once('\n').unwrap_or((&text, ""));
            let left = format!("%{i} = {} ({})", node.name, inputs.join(", "));
            writeln!(f, "{left:<44} {:<18} {head}", node.shape.to_string())?;
            if !blocks.is_empty() {
                writeln!(f, "{blocks}")?;
            }
        }
        Ok(())
    }
}

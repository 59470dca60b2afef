//! The arithmetic task: its problems, and which of them may be learned from.
//!
//! Sums and differences of 0 to 99, and, as a set of their own, products of 0 to 12. A problem is held out, or kept for
//! validation, together with what is the same problem the other way round (a + b and b + a), and always the same ones are: what
//! parts 6, 8, 9 and 10 report of held-out problems is of problems that none of them has seen.

use tensor_core::Rng;

/// Decides which problems are held out. It is no run's seed, so that all runs hold out the same.
const SPLIT_SEED: u64 = 60;

/// What is done with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// a + b
    Add,
    /// a − b
    Subtract,
    /// a · b
    Multiply,
}

/// A question about two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArithmeticProblem {
    /// a
    pub left: i64,
    /// What is done.
    pub operation: Operation,
    /// b
    pub right: i64,
}

/// Which kind of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemSet {
    /// a + b and a − b of 0 to 99: the set that results are reported of.
    Sums,
    /// a · b of 0 to 12: reported apart, as so few products are hardly a rule to learn.
    Products,
}

/// What problems are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To decide by, for example when to stop.
    Validation,
    /// To report.
    Test,
}

impl Operation {
    /// As it is written between numbers.
    pub fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
        }
    }
}

impl ArithmeticProblem {
    /// What comes out.
    pub fn answer(self) -> i64 {
        match self.operation {
            Operation::Add => self.left + self.right,
            Operation::Subtract => self.left - self.right,
            Operation::Multiply => self.left * self.right,
        }
    }

    /// The same problem the other way round, where there is one.
    pub fn swapped(self) -> Self {
        match self.operation {
            Operation::Subtract => self,
            Operation::Add | Operation::Multiply => {
                Self { left: self.right, right: self.left, ..self }
            }
        }
    }

    /// The one that stands for it and for the same problem the other way round.
    pub fn canonical(self) -> Self {
        self.min(self.swapped())
    }
}

impl ProblemSet {
    /// Its operations, its largest operand, and of how many keys of each operation are held out and validated on.
    fn shape(self) -> (&'static [Operation], i64, [usize; 2]) {
        match self {
            Self::Sums => (&[Operation::Add, Operation::Subtract], 99, [250, 150]),
            Self::Products => (&[Operation::Multiply], 12, [18, 9]),
        }
    }

    /// The problems of `split`, in random order. To learn from, both a + b and b + a; of the others one each.
    pub fn problems(self, split: Split) -> Vec<ArithmeticProblem> {
        let mut of_keys = Rng::new(SPLIT_SEED); // draws alike for every split
        let mut rng = of_keys.fork();
        let (operations, largest, [held_out, validation]) = self.shape();
        let mut chosen = Vec::new();
        for &operation in operations {
            let mut keys: Vec<ArithmeticProblem> = (0..=largest)
                .flat_map(|left| {
                    (0..=largest).map(move |right| ArithmeticProblem { left, operation, right })
                })
                .filter(|problem| problem.canonical() == *problem)
                .collect();
            of_keys.shuffle(&mut keys);
            let (apart, train) = keys.split_at(held_out + validation);
            let (held_out, validation) = apart.split_at(held_out);
            match split {
                Split::Train => {
                    chosen.extend(train);
                    let others = train.iter().map(|problem| problem.swapped());
                    chosen.extend(others.filter(|other| other.canonical() != *other));
                }
                Split::Validation | Split::Test => {
                    let keys = if split == Split::Test { held_out } else { validation };
                    let either = |key: &ArithmeticProblem| {
                        if rng.below(2) == 0 { *key } else { key.swapped() }
                    };
                    chosen.extend(keys.iter().map(either));
                }
            }
        }
        rng.shuffle(&mut chosen);
        chosen
    }
}

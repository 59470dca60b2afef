//! Arithmetic task: the problems, and their train, validation and test splits.
//!
//! Sums and differences of 0 to 99 and, as a separate set, products of 0 to 12. A problem and its
//! commuted form (a + b and b + a) are always in the same split, and the splits never change:
//! whatever is trained on the task, results on the test problems can be compared.

use tensor_core::Rng;

use crate::split::Split;

/// Seed of the splits: fixed, unlike the seed of a run, so that all runs share one test set.
const SPLIT_SEED: u64 = 60;

/// Operation on two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// a + b
    Add,
    /// a − b
    Subtract,
    /// a · b
    Multiply,
}

/// Arithmetic problem with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArithmeticProblem {
    /// Left operand a.
    pub left: i64,
    /// Operation.
    pub operation: Operation,
    /// Right operand b.
    pub right: i64,
}

/// Set of arithmetic problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemSet {
    /// Sums and differences of 0 to 99: the set that results are reported on.
    Sums,
    /// Products of 0 to 12: reported separately, as they are too few to learn a general rule from.
    Products,
}

impl Operation {
    /// Operator sign between the operands of a question.
    pub fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
        }
    }
}

impl ArithmeticProblem {
    /// Right answer.
    pub fn answer(self) -> i64 {
        match self.operation {
            Operation::Add => self.left + self.right,
            Operation::Subtract => self.left - self.right,
            Operation::Multiply => self.left * self.right,
        }
    }

    /// Commuted problem, b + a for a + b. A difference is returned unchanged.
    pub fn swapped(self) -> Self {
        match self.operation {
            Operation::Subtract => self,
            Operation::Add | Operation::Multiply => {
                Self { left: self.right, right: self.left, ..self }
            }
        }
    }

    /// Representative of the problem and its commuted form: the smaller of the two.
    pub fn canonical(self) -> Self {
        self.min(self.swapped())
    }
}

impl ProblemSet {
    /// Operations, largest operand, and number of test and validation keys per operation.
    fn shape(self) -> (&'static [Operation], i64, [usize; 2]) {
        match self {
            Self::Sums => (&[Operation::Add, Operation::Subtract], 99, [250, 150]),
            Self::Products => (&[Operation::Multiply], 12, [18, 9]),
        }
    }

    /// Problems of `split`, in random order. The training set contains both a + b and b + a, the
    /// other splits only one of them.
    pub fn problems(self, split: Split) -> Vec<ArithmeticProblem> {
        let mut key_rng = Rng::new(SPLIT_SEED); // the same draws for every split
        let mut rng = key_rng.fork();
        let (operations, largest, [n_test, n_validation]) = self.shape();
        let mut chosen = Vec::new();
        for &operation in operations {
            let mut keys: Vec<ArithmeticProblem> = (0..=largest)
                .flat_map(|left| {
                    (0..=largest).map(move |right| ArithmeticProblem { left, operation, right })
                })
                .filter(|problem| problem.canonical() == *problem)
                .collect();
            key_rng.shuffle(&mut keys);
            let (held_out, train) = keys.split_at(n_test + n_validation);
            let (test, validation) = held_out.split_at(n_test);
            match split {
                Split::Train => {
                    chosen.extend(train);
                    let swapped = train.iter().map(|problem| problem.swapped());
                    chosen.extend(swapped.filter(|problem| problem.canonical() != *problem));
                }
                Split::Validation | Split::Test => {
                    let keys = if split == Split::Test { test } else { validation };
                    let random_order = |key: &ArithmeticProblem| {
                        if rng.below(2) == 0 { *key } else { key.swapped() }
                    };
                    chosen.extend(keys.iter().map(random_order));
                }
            }
        }
        rng.shuffle(&mut chosen);
        chosen
    }
}

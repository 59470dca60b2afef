//! The stack machine of a pickle, as far as a dict of tensors needs it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;

use super::view::{Storage, View};

/// Limit of tuples within tuples; `torch.save` needs 3.
const MAX_DEPTH: usize = 8;
/// Limit of a tensor's dimensions: a pickle may mention one shape a million times, and each is
/// copied.
const MAX_RANK: usize = 8;
/// Limit of the names of functions and tensors, which errors repeat.
const MAX_NAME_BYTES: usize = 1 << 10;

/// Value on the stack of a [`Machine`].
#[derive(Debug, Clone)]
enum Value {
    Mark,
    Int(usize),
    Text(Rc<str>),
    /// Function or class, as `module.name`.
    Name(Rc<str>),
    Tuple(Rc<Tuple>),
    /// Dict; only its tensors are kept.
    Dict(Rc<RefCell<Entries>>),
    Storage(Rc<Storage>),
    Tensor(Rc<View>),
    /// Anything that does not matter.
    Other,
}

/// Tensors of a dict by name, in order.
pub(super) type Entries = Vec<(Rc<str>, Rc<View>)>;

#[derive(Debug)]
struct Tuple {
    values: Vec<Value>,
    depth: usize,
}

/// Stack machine of a pickle.
#[derive(Default)]
pub(super) struct Machine {
    stack: Vec<Value>,
    memo: HashMap<usize, Value>,
}

impl Machine {
    /// Tensors of the dict that the `pickle` ends with, in order.
    pub(super) fn run(mut self, pickle: &[u8]) -> Result<Entries> {
        let mut program = Program(pickle);
        loop {
            match program.bytes()? {
                [b'.'] => break,
                [opcode] => self.step(opcode, &mut program)?,
            }
        }
        let Value::Dict(entries) = self.pop()? else { bail!("it does not hold a dict") };
        Ok(entries.take())
    }

    /// Executes the instruction `opcode`.
    fn step(&mut self, opcode: u8, program: &mut Program<'_>) -> Result<()> {
        let value = match opcode {
            0x80 => return program.bytes::<1>().map(drop), // PROTO
            b'(' => Value::Mark,
            b'K' => Value::Int(program.bytes::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(program.bytes()?).into()),
            b'J' => Value::Int(u32::from_le_bytes(program.bytes()?) as usize),
            0x8a => program.long()?,
            b'G' => program.bytes::<8>().map(|_| Value::Other)?,
            b'X' => {
                let len = u32::from_le_bytes(program.bytes()?);
                Value::Text(std::str::from_utf8(program.slice(len as usize)?)?.into())
            }
            b'c' => {
                let (module, name) = (program.line()?, program.line()?);
                ensure_short(module.len() + name.len(), "function")?;
                Value::Name(format!("{module}.{name}").into())
            }
            b'N' | 0x88 | 0x89 | b']' => Value::Other, // None, true, false, list
            b'}' => Value::Dict(Rc::default()),
            b')' => tuple(Vec::new())?,
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                tuple(self.stack.split_off(start.context("its stack is empty")?))?
            }
            b't' => tuple(self.pop_to_mark()?)?,
            b'q' => return self.memoize(program.bytes::<1>()?[0].into()),
            b'r' => return self.memoize(u32::from_le_bytes(program.bytes()?) as usize),
            b'h' => self.recall(program.bytes::<1>()?[0].into())?,
            b'j' => self.recall(u32::from_le_bytes(program.bytes()?) as usize)?,
            b'a' | b'b' => return self.pop().map(drop), // an element, an attribute
            b'e' => return self.pop_to_mark().map(drop),
            b's' | b'u' => {
                let items = match opcode {
                    b's' => self.stack.split_off(self.stack.len().saturating_sub(2)),
                    _ => self.pop_to_mark()?,
                };
                return self.set_items(&items);
            }
            b'Q' => storage(&self.pop()?)?,
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                call(&function, &arguments)?
            }
            other => bail!("its pickle has the instruction {other:#x}"),
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().context("its stack is empty")
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let values = self.stack.split_off(mark.context("its stack has no mark")?);
        Ok(values.into_iter().skip(1).collect())
    }

    fn memoize(&mut self, id: usize) -> Result<()> {
        let value = self.stack.last().context("its stack is empty")?;
        self.memo.insert(id, value.clone());
        Ok(())
    }

    fn recall(&self, id: usize) -> Result<Value> {
        self.memo.get(&id).cloned().context("its pickle recalls what it did not store")
    }

    fn set_items(&self, items: &[Value]) -> Result<()> {
        let Some(Value::Dict(dict)) = self.stack.last() else { bail!("it sets items of no dict") };
        for item in items.chunks(2) {
            if let [Value::Text(name), Value::Tensor(view)] = item {
                ensure_short(name.len(), "tensor")?;
                dict.borrow_mut().push((name.clone(), view.clone()));
            }
        }
        Ok(())
    }
}

/// Checks the length of the name of a function or tensor.
fn ensure_short(n_bytes: usize, what: &str) -> Result<()> {
    ensure!(n_bytes <= MAX_NAME_BYTES, "its pickle has a {what} with a name of {n_bytes} bytes");
    Ok(())
}

fn tuple(values: Vec<Value>) -> Result<Value> {
    let depths = values.iter().map(|value| match value {
        Value::Tuple(tuple) => tuple.depth + 1,
        _ => 1,
    });
    let depth = depths.max().unwrap_or(1);
    ensure!(depth <= MAX_DEPTH, "its pickle has tuples of depth {depth}");
    Ok(Value::Tuple(Rc::new(Tuple { values, depth })))
}

/// Storage of the persistent id ("storage", type, key, device, number of elements).
fn storage(id: &Value) -> Result<Value> {
    if let Value::Tuple(id) = id
        && let [Value::Text(_), Value::Name(class), Value::Text(key), ..] = &id.values[..]
    {
        let dtype = match &**class {
            "torch.FloatStorage" => Some(DType::F32),
            "torch.HalfStorage" => Some(DType::F16),
            "torch.BFloat16Storage" => Some(DType::BF16),
            "torch.DoubleStorage" => Some(DType::F64),
            _ => None,
        };
        return Ok(Value::Storage(Rc::new(Storage { key: key.clone(), dtype })));
    }
    bail!("its pickle has a persistent id that is not a storage")
}

/// Result of one of the functions that `torch.save` needs.
fn call(function: &Value, arguments: &Value) -> Result<Value> {
    let (Value::Name(function), Value::Tuple(arguments)) = (function, arguments) else {
        bail!("its pickle calls what is not a function");
    };
    match (&**function, &arguments.values[..]) {
        ("collections.OrderedDict", _) => Ok(Value::Dict(Rc::default())),
        ("torch._utils._rebuild_parameter", [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
        (
            "torch._utils._rebuild_tensor_v2",
            [
                Value::Storage(storage),
                Value::Int(offset),
                Value::Tuple(size),
                Value::Tuple(stride),
                ..,
            ],
        ) => {
            let numbers = |tuple: &Tuple| {
                let rank = tuple.values.len();
                ensure!(rank <= MAX_RANK, "its pickle has a tensor of {rank} dimensions");
                let numbers = tuple.values.iter().map(|value| match value {
                    Value::Int(number) => Ok(*number),
                    _ => bail!("a tensor's shape has something else than integers"),
                });
                numbers.collect::<Result<Vec<_>>>()
            };
            Ok(Value::Tensor(Rc::new(View {
                storage: storage.clone(),
                offset: *offset,
                size: numbers(size)?,
                stride: numbers(stride)?,
            })))
        }
        (name, _) => bail!("its pickle calls {name}, which is not part of a plain dict of tensors"),
    }
}

/// Rest of a pickle.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn slice(&mut self, len: usize) -> Result<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(len).context("its pickle is truncated")?;
        self.0 = rest;
        Ok(slice)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.slice(N)?.try_into()?)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<&'a str> {
        let end = self.0.iter().position(|&byte| byte == b'\n');
        let line = self.slice(end.context("its pickle is truncated")? + 1)?;
        Ok(std::str::from_utf8(&line[..line.len() - 1])?)
    }

    /// Integer of up to 8 bytes.
    fn long(&mut self) -> Result<Value> {
        let [len] = self.bytes()?;
        let digits = self.slice(len.into())?;
        let mut bytes = [0; 8];
        let target = bytes.get_mut(..digits.len()).context("its pickle has a huge number")?;
        target.copy_from_slice(digits);
        Ok(Value::Int(usize::try_from(u64::from_le_bytes(bytes))?))
    }
}

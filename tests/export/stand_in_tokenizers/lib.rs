//! See Cargo.toml. A Python process, which answer.py is the program of, reads commands from its standard input: a byte that says which,
//! then fields, each behind its length in four bytes. It answers with a status and a field in the same way.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

pub struct TruncationParams {}
pub struct PaddingParams {}

pub enum EncodeInput<'s> {
    Single(Cow<'s, str>),
    Dual(Cow<'s, str>, Cow<'s, str>),
}

impl<'s> From<Cow<'s, str>> for EncodeInput<'s> {
    fn from(text: Cow<'s, str>) -> Self {
        Self::Single(text)
    }
}

impl<'s> From<(Cow<'s, str>, Cow<'s, str>)> for EncodeInput<'s> {
    fn from((first, second): (Cow<'s, str>, Cow<'s, str>)) -> Self {
        Self::Dual(first, second)
    }
}

pub struct Encoding {
    fields: [Vec<u32>; 4],
}

impl Encoding {
    pub fn get_ids(&self) -> &[u32] {
        &self.fields[0]
    }

    pub fn get_attention_mask(&self) -> &[u32] {
        &self.fields[1]
    }

    pub fn get_type_ids(&self) -> &[u32] {
        &self.fields[2]
    }

    pub fn get_sequence_ids(&self) -> Vec<Option<usize>> {
        self.fields[3].iter().map(|number| (*number as usize).checked_sub(1)).collect()
    }
}

pub struct Tokenizer {
    python: Mutex<Child>,
    split_special: bool,
}

impl Tokenizer {
    pub fn from_file<P: AsRef<Path>>(file: P) -> Result<Self> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/answer.py");
        let python = Command::new(env!("STAND_IN_PYTHON"))
            .args([program.as_ref(), file.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let opened = Self { python: Mutex::new(python), split_special: false };
        opened.ask(b'?', &[])?;
        Ok(opened)
    }

    pub fn with_truncation(&mut self, cut: Option<TruncationParams>) -> Result<&mut Self> {
        assert!(cut.is_none());
        Ok(self)
    }

    pub fn with_padding(&mut self, padding: Option<PaddingParams>) -> &mut Self {
        assert!(padding.is_none());
        self
    }

    pub fn set_encode_special_tokens(&mut self, value: bool) {
        self.split_special = value;
    }

    pub fn encode<'s, E: Into<EncodeInput<'s>>>(&self, input: E, add_special_tokens: bool) -> Result<Encoding> {
        let options = [u8::from(add_special_tokens), u8::from(self.split_special)];
        let answer = match input.into() {
            EncodeInput::Single(text) => self.ask(b'e', &[&options, text.as_bytes()]),
            EncodeInput::Dual(first, second) => self.ask(b'p', &[&options, first.as_bytes(), second.as_bytes()]),
        }?;
        let values: Vec<u32> = answer.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect();
        let count = values.len() / 4;
        Ok(Encoding { fields: [0, 1, 2, 3].map(|field| values[field * count..(field + 1) * count].to_vec()) })
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        assert!(skip_special_tokens);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        Ok(String::from_utf8(self.ask(b'd', &[&bytes])?)?)
    }

    fn ask(&self, command: u8, fields: &[&[u8]]) -> Result<Vec<u8>> {
        let mut python = self.python.lock().unwrap();
        let input = python.stdin.as_mut().unwrap();
        input.write_all(&[command])?;
        for field in fields {
            input.write_all(&(field.len() as u32).to_le_bytes())?;
            input.write_all(field)?;
        }
        input.flush()?;
        let output = python.stdout.as_mut().unwrap();
        let mut head = [0; 5];
        output.read_exact(&mut head)?;
        let mut answer = vec![0; u32::from_le_bytes(head[1..].try_into().unwrap()) as usize];
        output.read_exact(&mut answer)?;
        if head[0] == 0 { Ok(answer) } else { Err(String::from_utf8(answer)?.into()) }
    }
}

impl Drop for Tokenizer {
    fn drop(&mut self) {
        let mut python = self.python.lock().unwrap();
        drop(python.stdin.take()); // it ends then
        let _ = python.wait();
    }
}

//! The Hugging Face tokenizers library behind three C functions, which main.cpp declares.
//!
//! It is the library that the Python runtime uses, so tokens, token types and cuts are the same, of pairs too.

use std::ffi::{c_char, CStr};
use tokenizers::{EncodeInput, Tokenizer, TruncationDirection, TruncationParams};

/// Opens a tokenizer.json, set to cut at `max_length` tokens, at the left where `cut_left`, and to take special tokens in a text for
/// plain text where `split_special`; null, and the reason on stderr, if it cannot be read.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_open(path: *const c_char, max_length: usize, cut_left: bool, split_special: bool) -> *mut Tokenizer {
    let path = CStr::from_ptr(path).to_string_lossy();
    let direction = if cut_left { TruncationDirection::Left } else { TruncationDirection::Right };
    let cut = TruncationParams { max_length, direction, ..Default::default() };
    let opened = Tokenizer::from_file(path.as_ref()).and_then(|mut tokenizer| {
        tokenizer.with_truncation(Some(cut))?;
        tokenizer.set_encode_special_tokens(split_special);
        Ok(tokenizer)
    });
    match opened {
        Ok(tokenizer) => Box::into_raw(Box::new(tokenizer)),
        Err(error) => {
            eprintln!("{path}: {error}");
            std::ptr::null_mut()
        }
    }
}

/// Writes the tokens of a text, or of a pair where `second` is not null, and returns how many they are; -1, and the reason on
/// stderr, if they cannot be made or are more than `room`, the number of values that each of the three arrays can hold.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_encode(
    tokenizer: *const Tokenizer,
    first: *const c_char,
    second: *const c_char,
    room: usize,
    ids: *mut i64,
    mask: *mut i64,
    type_ids: *mut i64,
) -> isize {
    let first = CStr::from_ptr(first).to_string_lossy();
    let input: EncodeInput = if second.is_null() {
        first.into()
    } else {
        (first, CStr::from_ptr(second).to_string_lossy()).into()
    };
    let encoding = match (*tokenizer).encode(input, true) {
        Ok(encoding) => encoding,
        Err(error) => {
            eprintln!("{error}");
            return -1;
        }
    };
    if encoding.len() > room {
        eprintln!("{} tokens; there is room for {room}", encoding.len());
        return -1;
    }
    let fields = [(ids, encoding.get_ids()), (mask, encoding.get_attention_mask()), (type_ids, encoding.get_type_ids())];
    for (target, values) in fields {
        for (index, value) in values.iter().enumerate() {
            *target.add(index) = i64::from(*value);
        }
    }
    encoding.len() as isize
}

/// Frees what `tokenizer_open` gave.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_close(tokenizer: *mut Tokenizer) {
    drop(Box::from_raw(tokenizer));
}

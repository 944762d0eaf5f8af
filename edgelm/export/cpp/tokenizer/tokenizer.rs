//! The Hugging Face tokenizers library behind four C functions, which tokenizer.h declares.
//!
//! It is the library that the Python runtime uses, so tokens, token types, cuts and decoded texts are the same.

use std::ffi::{c_char, CStr};
use tokenizers::{EncodeInput, Tokenizer};

/// A tokenizer, and where it cuts: at `longest` tokens, 0 for nowhere, at the left where `cut_left`.
pub struct Reader {
    tokenizer: Tokenizer,
    longest: usize,
    cut_left: bool,
}

/// Opens a tokenizer.json, which takes special tokens in a text for plain text where `split_special`; null, and the reason on stderr,
/// if it cannot be read.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_open(path: *const c_char, longest: usize, cut_left: bool, split_special: bool) -> *mut Reader {
    let path = CStr::from_ptr(path).to_string_lossy();
    let opened = Tokenizer::from_file(path.as_ref()).and_then(|mut tokenizer| {
        tokenizer.with_truncation(None)?; // the library keeps all that it cuts off, of two long texts gigabytes: it is cut here
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(split_special);
        Ok(tokenizer)
    });
    match opened {
        Ok(tokenizer) => Box::into_raw(Box::new(Reader { tokenizer, longest, cut_left })),
        Err(error) => {
            eprintln!("{path}: {error}");
            std::ptr::null_mut()
        }
    }
}

/// The tokens of a text, or of a pair where `second` is not null, with those that the model wants around it where `around`. Returns
/// how many they are, and writes them where they are no more than `room`, the number of values that each of the three arrays can
/// hold; -1, and the reason on stderr, if they cannot be made.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_encode(
    reader: *const Reader,
    first: *const c_char,
    second: *const c_char,
    around: bool,
    room: usize,
    ids: *mut i64,
    mask: *mut i64,
    type_ids: *mut i64,
) -> isize {
    let reader = &*reader;
    let first = CStr::from_ptr(first).to_string_lossy();
    let input: EncodeInput = if second.is_null() {
        first.into()
    } else {
        (first, CStr::from_ptr(second).to_string_lossy()).into()
    };
    let encoding = match reader.tokenizer.encode(input, around) {
        Ok(encoding) => encoding,
        Err(error) => {
            eprintln!("{error}");
            return -1;
        }
    };
    let places = kept_places(&encoding.get_sequence_ids(), reader.longest, reader.cut_left);
    if places.len() <= room {
        let fields = [(ids, encoding.get_ids()), (mask, encoding.get_attention_mask()), (type_ids, encoding.get_type_ids())];
        for (target, values) in fields {
            for (index, place) in places.iter().enumerate() {
                *target.add(index) = i64::from(values[*place]);
            }
        }
    }
    places.len() as isize
}

/// The text of tokens, in UTF-8, without special ones. Returns how many bytes it has, and writes them where they are no more than
/// `room`; -1, and the reason on stderr, if it cannot be made.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_decode(reader: *const Reader, ids: *const i64, count: usize, room: usize, text: *mut u8) -> isize {
    let reader = &*reader;
    let ids: Vec<u32> = (0..count).map(|index| *ids.add(index) as u32).collect();
    match reader.tokenizer.decode(&ids, true) {
        Ok(decoded) => {
            if decoded.len() <= room {
                std::ptr::copy_nonoverlapping(decoded.as_ptr(), text, decoded.len());
            }
            decoded.len() as isize
        }
        Err(error) => {
            eprintln!("{error}");
            -1
        }
    }
}

/// Frees what `tokenizer_open` gave.
#[no_mangle]
pub unsafe extern "C" fn tokenizer_close(reader: *mut Reader) {
    drop(Box::from_raw(reader));
}

/// Which tokens are read where there is room for `longest`, by the text that each is of (none: a special one, which stays). The
/// shorter text keeps all of its own up to half of the room, and the other what is left, as the library cuts ("longest_first").
fn kept_places(texts: &[Option<usize>], longest: usize, cut_left: bool) -> Vec<usize> {
    if longest == 0 || texts.len() <= longest {
        return (0..texts.len()).collect();
    }
    let mut counts = [0, 0];
    for text in texts.iter().flatten() {
        counts[*text] += 1;
    }
    let [first, second] = counts;
    let room = longest.saturating_sub(texts.len() - first - second);
    let shorter = first.min(second).min(room / 2);
    let kept = if first <= second { [shorter, room - shorter] } else { [room - shorter, shorter] };
    let mut seen = [0, 0];
    let mut stays = |text: usize| {
        seen[text] += 1;
        if cut_left { seen[text] + kept[text] > counts[text] } else { seen[text] <= kept[text] }
    };
    (0..texts.len()).filter(|place| texts[*place].map_or(true, &mut stays)).collect()
}

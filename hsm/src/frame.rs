//! Frames on the socket: length (u32, big endian, at most 64 KiB), then one postcard message and nothing after it.

use std::io::{self, Read};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Longest message. The longest ones that are sent (a page of the inventory, a plaintext with its associated data) are below.
pub(crate) const MAXIMUM: usize = 64 * 1024;

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame is longer than 64 KiB")]
    TooLong,
    #[error("a frame does not hold exactly one message")]
    Malformed,
}

/// A message as a frame. The buffer is wiped when dropped: it may hold plaintext.
pub(crate) fn encode(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let body = Zeroizing::new(postcard::to_allocvec(message).map_err(|_| FrameError::Malformed)?);
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAXIMUM).ok_or(FrameError::TooLong)?;
    let mut frame = Zeroizing::new(Vec::with_capacity(body.len().saturating_add(4)));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The one message of a frame's body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Malformed),
    }
}

/// Length of the body that follows.
pub(crate) fn length(header: [u8; 4]) -> Result<usize, FrameError> {
    usize::try_from(u32::from_be_bytes(header)).ok().filter(|length| *length <= MAXIMUM).ok_or(FrameError::TooLong)
}

/// Reads a frame's body; `None` where the stream ends between two frames.
pub(crate) fn read(stream: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut header = [0; 4];
    if stream.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..])?;
    let length = length(header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut body = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use crate::op::{Answer, Operation, Request, Response};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_body_panics_and_trailing_bytes_are_refused(body in proptest::collection::vec(any::<u8>(), 0..200), id: u64, length: u16) {
            let _ = decode::<Request>(&body);
            let _ = decode::<Response>(&body);
            let frame = encode(&Request { id, budget_ms: 5, operation: Operation::Random { length } }).expect("short");
            let read_back = read(&mut &frame[..]).expect("reads").expect("one frame");
            let request: Request = decode(&read_back).expect("decodes");
            let same = matches!(request.operation, Operation::Random { length: l } if l == length);
            prop_assert!(request.id == id && same);
            let mut longer = read_back.to_vec();
            longer.push(0);
            prop_assert_eq!(decode::<Request>(&longer).err(), Some(FrameError::Malformed));
        }

        #[test]
        fn no_stream_panics(stream in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&mut &stream[..]);
        }
    }

    #[test]
    fn a_refusal_crosses_as_itself() {
        let frame = encode(&Response { id: 7, result: Err(Refusal::MarkAhead { token_mark: 9 }) }).expect("short");
        let response: Response = decode(&frame[4..]).expect("decodes");
        assert_eq!((response.id, response.result.err()), (7, Some(Refusal::MarkAhead { token_mark: 9 })));
    }

    #[test]
    fn too_long_a_frame_is_refused_on_both_ends() {
        let response = Response { id: 0, result: Ok(Answer::Bytes(vec![0; MAXIMUM])) };
        assert_eq!(encode(&response).err(), Some(FrameError::TooLong));
        assert_eq!(length([0, 1, 0, 1]), Err(FrameError::TooLong));
        assert!(read(&mut &[0xFF_u8; 64][..]).is_err());
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_an_error_and_between_frames_is_not() {
        assert!(read(&mut &[][..]).expect("ends").is_none());
        assert!(read(&mut &[0, 0, 0, 9, 1][..]).is_err());
        assert!(read(&mut &[0, 0][..]).is_err());
    }
}

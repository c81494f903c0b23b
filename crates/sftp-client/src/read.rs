//! Pipelined reads of an open file.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::packet::{READ, Request, Response, Status};
use crate::session::{File, PendingResponse, unexpected};
use crate::{Error, Result};

/// Reads byte ranges in order, with several requests in flight.
#[derive(Debug)]
pub struct RangeReader<'f> {
    file: &'f File,
    request_bytes: u32,
    /// Upper bound of the bytes in flight.
    window: u64,
    in_flight_bytes: u64,
    in_flight: VecDeque<(u64, u32, PendingResponse)>,
    remaining: VecDeque<Range<u64>>,
}

impl File {
    /// Reads `ranges` one after another, with at most `window` bytes in flight. The first requests are sent by this call.
    pub fn read_ranges(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
        window: u64,
    ) -> Result<RangeReader<'_>> {
        let read_bytes = self.session.read_bytes;
        let mut reader = RangeReader {
            file: self,
            request_bytes: read_bytes.min(u32::try_from(window).unwrap_or(read_bytes)),
            window,
            in_flight_bytes: 0,
            in_flight: VecDeque::new(),
            remaining: ranges.into_iter().collect(),
        };
        reader.fill()?;
        Ok(reader)
    }
}

impl RangeReader<'_> {
    /// The next bytes; `None` after the last range or at the end of the file.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some((offset, length, pending)) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let data = match pending.wait().await? {
            Response::Data(data) if data.is_empty() => return Ok(None),
            Response::Data(data) => data,
            Response::Status(status) if status.code == Status::END => return Ok(None),
            other => return Err(unexpected(other)),
        };
        self.in_flight_bytes -= u64::from(length);
        let received = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if received > length {
            return Err(Error::Protocol(
                "the server sent more bytes than requested".to_owned(),
            ));
        }
        if received < length {
            // Servers may send less; the rest comes before what is in flight.
            let request = self.request(offset + u64::from(received), length - received)?;
            self.in_flight.push_front(request);
        }
        self.fill()?;
        Ok(Some(data))
    }

    fn fill(&mut self) -> Result<()> {
        while self.in_flight_bytes < self.window
            && let Some(range) = self.remaining.front_mut()
        {
            if range.is_empty() {
                self.remaining.pop_front();
                continue;
            }
            let start = range.start;
            let length = (range.end - start).min(self.request_bytes.into());
            range.start += length;
            let request = self.request(start, u32::try_from(length).unwrap_or(self.request_bytes))?;
            self.in_flight.push_back(request);
        }
        Ok(())
    }

    fn request(&mut self, offset: u64, length: u32) -> Result<(u64, u32, PendingResponse)> {
        let request = Request::new(READ).bytes(&self.file.handle);
        let pending = self.file.session.post(request.u64(offset).u32(length))?;
        self.in_flight_bytes += u64::from(length);
        Ok((offset, length, pending))
    }
}

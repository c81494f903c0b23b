//! How much memory rows hold on to.

use std::collections::HashSet;

use arrow::array::{Array, ArrayData};
use arrow::buffer::Buffer;

use crate::component::Chunk;

/// Adds up the buffers behind chunks, each once: slices and columns that were passed through share theirs. A slice
/// counts with its whole buffer, which is what it keeps alive.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: usize,
    /// Where the buffers begin. They stay alive as long as this counts, so no address comes twice.
    seen: HashSet<usize>,
}

impl Memory {
    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a chunk that is kept from here on.
    pub(super) fn add(&mut self, chunk: &Chunk) {
        let (rows, lines) = chunk.origins.columns();
        for column in chunk.batch.columns() {
            self.add_data(&column.to_data());
        }
        self.add_data(&rows.to_data());
        if let Some(lines) = lines {
            self.add_data(&lines.to_data());
        }
        if let Some(mixed) = chunk.origins.mixed() {
            self.add_data(&mixed.index.to_data());
        }
    }

    fn add_data(&mut self, data: &ArrayData) {
        for buffer in data.buffers() {
            self.add_buffer(buffer);
        }
        if let Some(nulls) = data.nulls() {
            self.add_buffer(nulls.buffer());
        }
        for child in data.child_data() {
            self.add_data(child);
        }
    }

    fn add_buffer(&mut self, buffer: &Buffer) {
        if self.seen.insert(buffer.data_ptr().as_ptr() as usize) {
            self.bytes += buffer.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{RecordBatch, StringArray};

    use super::*;
    use crate::component::{Origins, Part};

    #[test]
    fn shared_buffers_count_once_and_a_slice_with_what_it_keeps_alive() {
        let column = StringArray::from(vec!["x".repeat(100); 1000]);
        let part = Arc::new(Part {
            name: "a.csv".into(),
            columns: vec![],
        });
        let chunk = Chunk::records(
            RecordBatch::try_from_iter([("x", Arc::new(column) as _)]).unwrap(),
            Origins::consecutive(part, 1, 1000),
        );
        let mut memory = Memory::default();
        memory.add(&chunk.slice(3, 1));
        let bytes = memory.bytes();
        assert!((100_000..150_000).contains(&bytes), "{bytes}");
        memory.add(&chunk.slice(500, 400));
        memory.add(&chunk);
        assert_eq!(memory.bytes(), bytes);
    }
}

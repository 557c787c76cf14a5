//! Images and small arrays on their way to the device, and what it found on the way back, beside what
//! it computes: a stream of its own for images, and memory of the host that the device reads and writes by
//! itself.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result};

use super::error::{CudaError, fail};
use super::gpu::{Gpu, driver};
use super::lanes::Touch;
use super::memory::{Buffer, Element, Reals, View, ViewMut};

/// What crosses lies in pieces that begin at a multiple of so many bytes: `PIECE` of `images.cu`.
pub(crate) const PIECE: usize = 16;
/// Bytes that one thread copies sooner than it would share with others.
const SHARE_BYTES: usize = 4 << 20;
/// Numbers that are fetched together.
const FETCHED_MAX: usize = 4 << 20;
/// Threads that copy: enough to fill the bus.
const THREADS_MAX: usize = 8;
/// What has to grow again, as from batch to batch of random crops, gets a part more than it has to, one
/// in so many: batches differ by less, and the device stands still while memory is made anew.
const SLACK_PART: usize = 4;

/// Small arrays that may be on their way at a time, to the device and back: those of two steps.
const SENT: usize = 4;
const ASKED: usize = 6;

/// The way across, and what came last.
pub(crate) struct Crossing {
    stream: Arc<CudaStream>,
    /// The last images.
    images: Outgoing,
    /// When the device has made numbers of them.
    used: CudaEvent,
    /// Of what came last.
    number: u64,
    /// Small arrays, which cross on the stream that computes, the last first.
    sent: [Outgoing; SENT],
    /// Those that come back, the last first; and large ones, in parts.
    asked: [Incoming; ASKED],
    /// Of the last of them.
    asked_number: u64,
    back: Incoming,
    levels: Option<Buffer<u8>>,
    words: Option<Buffer<u32>>,
}

impl Crossing {
    /// # Errors
    /// When the driver makes no stream or no events.
    pub(crate) fn open(gpu: &Gpu) -> Result<Self, CudaError> {
        let context = gpu.stream().context();
        let fails = |error| driver("make a second stream", error);
        let event = || context.new_event(None).map_err(fails);
        let sent = array_of(|| Outgoing::open(context)).map_err(fails)?;
        let asked = array_of(|| Incoming::open(context)).map_err(fails)?;
        Ok(Self {
            stream: context.new_stream().map_err(fails)?,
            images: Outgoing::open(context).map_err(fails)?,
            used: event()?,
            number: 0,
            sent,
            asked,
            asked_number: 0,
            back: Incoming::open(context).map_err(fails)?,
            levels: None,
            words: None,
        })
    }

    /// The number of what was brought last; none is 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Begins to bring `levels`, one piece behind the other, and words that belong to them. When this
    /// returns, both were read.
    pub(crate) fn bring(&mut self, gpu: &Gpu, levels: &[&[u8]], words: &[u32]) {
        gpu.bind();
        // What crossed last is in the device's memory.
        let waited = self.images.wait();
        waited.unwrap_or_else(|error| fail(driver("finish a copy", error)));
        let bytes = levels.iter().map(|piece| room_of(piece.len())).sum();
        let short = |len: Option<usize>, wanted: usize| len.is_none_or(|len| len < wanted);
        if short(self.levels.as_ref().map(Buffer::len), bytes)
            || short(self.words.as_ref().map(Buffer::len), words.len())
        {
            let had = self.levels.as_ref().map_or(0, Buffer::len);
            (self.levels, self.words) = (None, None); // so that both are never there at a time
            self.levels = Some(gpu.zeros(grown(had, bytes)));
            self.words = Some(gpu.zeros(words.len()));
            // They are made by the other stream, for which this one has to wait.
            self.used(gpu);
        }
        self.number += 1;
        let crossed = self.cross(levels, bytes, words);
        crossed.unwrap_or_else(|error| fail(driver("take images", error)));
    }

    fn cross(&mut self, levels: &[&[u8]], bytes: usize, words: &[u32]) -> Result<(), DriverError> {
        let host = self.images.of(bytes + size_of_val(words))?;
        let (host_words, host_levels) = host.split_at_mut(size_of_val(words));
        host_words.copy_from_slice(bytes_of(words));
        copy(host_levels, levels);
        self.stream.wait(&self.used)?;
        let (Some(to_levels), Some(to_words)) = (&mut self.levels, &mut self.words) else {
            return Ok(());
        };
        let addresses = [to_words.view_mut().address(), to_levels.view_mut().address()];
        for (address, from) in addresses.into_iter().zip([&*host_words, &*host_levels]) {
            // SAFETY: the array is at least as long, and the host's memory stays as it is until all
            // has crossed, for which the next crossing waits, as does what frees it.
            unsafe { result::memcpy_htod_async(address, from, self.stream.cu_stream()) }?;
        }
        self.images.crossed.record(&self.stream)
    }

    /// Copies `src` to the beginning of `dst` behind everything that was asked for, and waits for
    /// nothing of it: for what is small. When this returns, `src` was read.
    pub(crate) fn send<T: Element>(&mut self, gpu: &Gpu, dst: ViewMut<'_, T>, src: &[T]) {
        assert!(src.len() <= dst.len(), "{} elements for {}", src.len(), dst.len());
        // A graph would read the host's memory when it is launched.
        if src.is_empty() || gpu.gives_up() || !gpu.touches_on_main(&[dst.touch()]) {
            return;
        }
        self.sent.rotate_left(1);
        let sent = self.sent[0].send(gpu.stream(), dst, src);
        sent.unwrap_or_else(|error| fail(driver("take an array", error)));
    }

    /// Begins to copy what is small to the host, behind everything that was asked for. Its number, 0 where
    /// nothing was begun.
    pub(crate) fn begin_fetch(&mut self, gpu: &Gpu, memory: Touch) -> u64 {
        // A graph would write the host's memory when it is launched.
        if gpu.gives_up() || !gpu.touches_on_main(&[memory]) {
            return 0;
        }
        self.asked.rotate_right(1);
        self.asked_number += 1;
        let begun = self.asked[0].begin(gpu.stream(), memory, self.asked_number);
        begun.unwrap_or_else(|error| fail(driver("give an array back", error)));
        self.asked_number
    }

    /// What was begun with this number, or is begun now, when it has come; waits for nothing that was asked
    /// for after it. Nothing where operations are dropped.
    pub(crate) fn end_fetch(&mut self, gpu: &Gpu, number: u64, memory: Touch) -> Option<&[u8]> {
        gpu.bind();
        let has = |asked: &[Incoming], number: u64| {
            let is_it = |of: &Incoming| of.number == number && of.bytes == bytes(memory);
            asked.iter().position(is_it).filter(|_| number > 0)
        };
        let at = has(&self.asked, number).or_else(|| {
            let begun_now = self.begin_fetch(gpu, memory);
            has(&self.asked, begun_now)
        })?;
        let come = self.asked[at].end();
        Some(come.unwrap_or_else(|error| fail(driver("give an array back", error))))
    }

    /// Copies the beginning of `src` to all of `dst`, when everything before it is done: in parts, so that
    /// large arrays take no more of the host than small ones.
    pub(crate) fn fetch(&mut self, gpu: &Gpu, dst: &mut [f32], src: Reals<'_>) {
        gpu.touches_on_main(&[src.touch()]);
        let mut begin = 0;
        for part in dst.chunks_mut(FETCHED_MAX) {
            let there = src.part(begin..begin + part.len());
            let fetched = self.back.begin(gpu.stream(), there.touch(), 0);
            let fetched = fetched.and_then(|()| self.back.end());
            let come = fetched.unwrap_or_else(|error| fail(driver("give an array back", error)));
            read(part, come, there);
            begin += part.len();
        }
    }

    /// What was brought last, for what the device is asked from now on. [`Self::used`] must follow.
    pub(crate) fn arrived(
        &self,
        gpu: &Gpu,
        levels: usize,
        words: usize,
    ) -> (View<'_, u8>, View<'_, u32>) {
        let waits = gpu.stream().wait(&self.images.crossed);
        waits.unwrap_or_else(|error| fail(driver("wait for images", error)));
        let (Some(all_levels), Some(all_words)) = (&self.levels, &self.words) else {
            panic!("nothing was brought");
        };
        (all_levels.first(levels), all_words.first(words))
    }

    /// Everything asked for so far is all that reads them, until it is said again.
    pub(crate) fn used(&self, gpu: &Gpu) {
        let recorded = self.used.record(gpu.stream());
        recorded.unwrap_or_else(|error| fail(driver("note that images were used", error)));
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        // What is under way still writes the device's memory. A failure leaves nothing under way, if it is
        // not one of before.
        let _ = self.stream.context().check_err();
        let _ = self.stream.synchronize();
    }
}

/// The numbers of `src`, of which these are the bytes.
pub(crate) fn read(dst: &mut [f32], bytes: &[u8], src: Reals<'_>) {
    match src {
        Reals::F32(_) => {
            let (words, _) = bytes.as_chunks();
            dst.iter_mut().zip(words).for_each(|(to, &word)| *to = f32::from_ne_bytes(word));
        }
        // bf16 is the upper half of an f32.
        Reals::Bf16(_) => {
            let (halves, _) = bytes.as_chunks();
            let wide = |half| f32::from_bits(u32::from(u16::from_ne_bytes(half)) << 16);
            dst.iter_mut().zip(halves).for_each(|(to, &half)| *to = wide(half));
        }
    }
}

fn bytes(memory: Touch) -> usize {
    (memory.end - memory.begin) as usize
}

/// So many of the same.
fn array_of<T, const N: usize>(
    mut open: impl FnMut() -> Result<T, DriverError>,
) -> Result<[T; N], DriverError> {
    let all: Vec<T> = (0..N).map(|_| open()).collect::<Result<_, _>>()?;
    Ok(all.try_into().unwrap_or_else(|_| unreachable!("there are as many")))
}

/// The room of a piece of so many bytes.
pub(crate) fn room_of(bytes: usize) -> usize {
    bytes.next_multiple_of(PIECE)
}

/// How much room to make where there was some, 0 at first, and more is wanted.
pub(crate) fn grown(had: usize, wanted: usize) -> usize {
    if had == 0 { wanted } else { wanted + wanted / SLACK_PART }
}

/// Numbers as the device reads them.
fn bytes_of<T: Element>(numbers: &[T]) -> &[u8] {
    // SAFETY: elements are numbers, of which every byte may be read.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Copies pieces to where they lie one behind the other, by several threads, where that is sooner.
fn copy(to: &mut [u8], pieces: &[&[u8]]) {
    let threads = (to.len() / SHARE_BYTES).min(pieces.len()).clamp(1, THREADS_MAX);
    if threads == 1 {
        return copy_alone(to, pieces);
    }
    std::thread::scope(|scope| {
        let mut rest = to;
        for pieces in pieces.chunks(pieces.len().div_ceil(threads)) {
            let bytes = pieces.iter().map(|piece| room_of(piece.len())).sum();
            let (own, behind) = rest.split_at_mut(bytes);
            rest = behind;
            scope.spawn(move || copy_alone(own, pieces));
        }
    });
}

fn copy_alone(mut to: &mut [u8], pieces: &[&[u8]]) {
    for piece in pieces {
        let (own, rest) = to.split_at_mut(room_of(piece.len()));
        own[..piece.len()].copy_from_slice(piece);
        to = rest;
    }
}

/// Memory that is written here, and read by the device some time after it was asked to.
struct Outgoing {
    memory: Pinned,
    /// When the device has read what was written last.
    crossed: CudaEvent,
}

impl Outgoing {
    fn open(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        Ok(Self { memory: Pinned::default(), crossed: context.new_event(None)? })
    }

    /// Until all has crossed.
    fn wait(&self) -> Result<(), DriverError> {
        self.crossed.synchronize()
    }

    /// So many bytes, with anything in them. `crossed` must be recorded behind what reads them.
    fn of(&mut self, bytes: usize) -> Result<&mut [u8], DriverError> {
        self.wait()?;
        self.memory.of(bytes)
    }

    /// Copies `src` to the beginning of `dst`, on this stream.
    fn send<T: Element>(
        &mut self,
        stream: &CudaStream,
        dst: ViewMut<'_, T>,
        src: &[T],
    ) -> Result<(), DriverError> {
        let host = self.of(size_of_val(src))?;
        host.copy_from_slice(bytes_of(src));
        // SAFETY: there is room for all of `src`, and the host's memory stays as it is until it has
        // crossed, for which whatever writes or frees it waits.
        unsafe { result::memcpy_htod_async(dst.address(), host, stream.cu_stream()) }?;
        self.crossed.record(stream)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        wait_before_memory_goes(&self.crossed);
    }
}

/// Memory that the device writes some time after it was asked to, and that is read here when it has.
struct Incoming {
    memory: Pinned,
    /// When what was asked for last has come.
    crossed: CudaEvent,
    /// Of it.
    bytes: usize,
    number: u64,
}

impl Incoming {
    fn open(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let (memory, crossed) = (Pinned::default(), context.new_event(None)?);
        Ok(Self { memory, crossed, bytes: 0, number: 0 })
    }

    /// Asks for a copy of this memory, on this stream.
    fn begin(
        &mut self,
        stream: &CudaStream,
        memory: Touch,
        number: u64,
    ) -> Result<(), DriverError> {
        // What nobody wanted may still be on its way.
        self.crossed.synchronize()?;
        (self.bytes, self.number) = (bytes(memory), number);
        let host = self.memory.of(self.bytes)?;
        // SAFETY: the array has so many bytes, and the host's memory is not read before it has crossed, for
        // which whatever reads, writes or frees it waits.
        unsafe { result::memcpy_dtoh_async(host, memory.begin, stream.cu_stream()) }?;
        self.crossed.record(stream)
    }

    /// What was asked for.
    fn end(&mut self) -> Result<&[u8], DriverError> {
        self.crossed.synchronize()?;
        self.memory.of(self.bytes).map(|come| &*come)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        wait_before_memory_goes(&self.crossed);
    }
}

/// Until what crosses has. A failure leaves nothing under way, if it is not one of before.
fn wait_before_memory_goes(crossed: &CudaEvent) {
    let _ = crossed.context().check_err();
    let _ = crossed.synchronize();
}

/// Memory of the host that the device reads and writes without its help.
#[derive(Default)]
struct Pinned {
    memory: Option<NonNull<c_void>>,
    bytes: usize,
}

// SAFETY: it is memory of the process, which any thread may use and free.
unsafe impl Send for Pinned {}
// SAFETY: as above; a shared `Pinned` gives nobody access.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// So many bytes, with anything in them. Nothing may be reading it.
    fn of(&mut self, len: usize) -> Result<&mut [u8], DriverError> {
        if self.bytes < len {
            let bytes = grown(self.bytes, len);
            self.free();
            // SAFETY: a number of bytes that is not 0.
            let memory = unsafe { result::malloc_host(bytes, 0) }?;
            // SAFETY: the memory has so many bytes, which are any from now on.
            unsafe { std::ptr::write_bytes(memory.cast::<u8>(), 0, bytes) };
            (self.memory, self.bytes) = (NonNull::new(memory), bytes);
        }
        let Some(memory) = self.memory else { return Ok(&mut []) };
        // SAFETY: the memory is this value's, has at least so many bytes, and was written above.
        Ok(unsafe { std::slice::from_raw_parts_mut(memory.as_ptr().cast(), len) })
    }

    fn free(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.bytes = 0;
            // SAFETY: the memory is this value's, and nobody's after this. A failure leaks it.
            let _ = unsafe { result::free_host(memory.as_ptr()) };
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_copy_is_what_one_would() {
        for lens in [vec![], vec![1, 0, 16], vec![SHARE_BYTES; 9], vec![SHARE_BYTES / 2 + 5; 11]] {
            let from: Vec<Vec<u8>> =
                lens.iter().map(|len| (0..*len).map(|at| (at * 7 % 251) as u8).collect()).collect();
            let pieces: Vec<&[u8]> = from.iter().map(Vec::as_slice).collect();
            let bytes = lens.iter().map(|&len| room_of(len)).sum();
            let (mut to, mut expected) = (vec![0; bytes], vec![0; bytes]);
            copy(&mut to, &pieces);
            copy_alone(&mut expected, &pieces);
            assert!(to == expected, "{lens:?}");
            let mut begin = 0;
            for piece in pieces {
                assert!(to[begin..].starts_with(piece));
                begin += room_of(piece.len());
            }
        }
    }
}

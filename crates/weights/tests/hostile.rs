//! Files made to harm: every one is refused in one line, quickly, and in little more memory than its
//! own size. One test for each kind of harm that readers of weights have done.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use alexnet_data::{Fit, Preprocess};
use alexnet_network::{Array, Initialisation, Model, ModelConfig, ModelName, Plan, Purpose};
use alexnet_weights::formats::{Format, Known, OnnxOptions, Opened, open, save};
use alexnet_weights::protobuf::Message;
use alexnet_weights::{ModelFile, WeightsError};
use peak_alloc::PeakAlloc;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Longest time a refusal may take.
const TIME_MAX: Duration = Duration::from_millis(100);
/// So often a file is read when it took longer: the machine may have been busy.
const TRIES: usize = 20;
/// Most memory beyond the file's size.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Of all formats together, so many files are cut off.
const CUTS: usize = 10_000;

/// A folder for one test's files; tests that measure memory take turns.
struct Folder {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Folder {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { folder: tempfile::tempdir().expect("a folder"), _alone: alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of these bytes is refused as it must be, for the reason expected.
    fn refuses(&self, name: &str, bytes: &[u8], expected: &str) {
        let path = self.path(name);
        fs::write(&path, bytes).expect("written");
        refuses(&path, expected);
    }
}

fn refuses(path: &Path, expected: &str) {
    let error = measured(path).expect_err(expected);
    let text = error.to_string();
    assert!(text.contains(expected), "{text}\n{expected}");
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.contains(&path.display().to_string()), "{text:?}");
}

/// Opens a file within the limits of time and memory.
fn measured(path: &Path) -> Result<Opened, WeightsError> {
    let len = path.metadata().expect("there").len() as usize;
    let mut quickest = Duration::MAX;
    for _ in 0..TRIES {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let start = Instant::now();
        let opened = open(path, &Known::default());
        quickest = quickest.min(start.elapsed());
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let most = len.saturating_add(MEMORY_BYTES_MAX);
        assert!(taken <= most, "{}: {taken} bytes for a file of {len}", path.display());
        if quickest <= TIME_MAX {
            return opened;
        }
    }
    panic!("{}: {quickest:?}", path.display());
}

/// The value of one weight, to be found again in a file.
const MARK: f32 = 1234.567;

/// A small network.
fn network() -> ModelFile {
    network_of(0.01)
}

fn network_of(width: f32) -> ModelFile {
    let (model, image_size) = (ModelName::Caffe, 67);
    let config =
        ModelConfig { model, classes: 2, image_size, width, batch_norm: false, dropout: None };
    let model = Model::new(config).expect("a model");
    let plan = Plan::new(&model, 1, Purpose::Inference, Initialisation::Model).expect("a plan");
    let specs = plan.parameters.iter().flat_map(|of| &of.tensors);
    let mut weights: Vec<_> = specs
        .map(|of| Array {
            name: of.name.clone(),
            shape: of.shape.clone(),
            values: vec![0.5; of.len()],
        })
        .collect();
    weights.last_mut().expect("biases").values[1] = MARK;
    let crop = image_size as u32;
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let preprocess = Preprocess { fit: Fit::Warp, resize: crop, crop, mean, std, mean_image: None };
    ModelFile { config, classes: vec!["cat".to_owned(), "dog".to_owned()], preprocess, weights }
}

/// The small network in a file of each form.
fn files(folder: &Folder) -> [PathBuf; 4] {
    files_of(&network(), folder)
}

fn files_of(network: &ModelFile, folder: &Folder) -> [PathBuf; 4] {
    Format::ALL.map(|format| {
        let path = folder.path(&format!("sound.{}", format.extensions()[0]));
        save(network, &path, format, OnnxOptions::default()).expect("written");
        path
    })
}

#[test]
fn sound_files_are_read() {
    let folder = Folder::new();
    for path in files(&folder) {
        let opened = measured(&path).expect("read");
        let (found, sound) = (opened.file, network());
        assert_eq!(found.config, sound.config, "{}", path.display());
        assert_eq!(found.weights, sound.weights, "{}", path.display());
    }
}

#[test]
fn files_cut_off_anywhere_are_refused() {
    let folder = Folder::new();
    for path in files(&folder) {
        let len = path.metadata().expect("there").len();
        let cuts = CUTS / Format::ALL.len();
        let file = File::options().write(true).open(&path).expect("opened");
        for cut in (0..cuts as u64).rev() {
            file.set_len(cut * len / cuts as u64).expect("cut");
            let error = open(&path, &Known::default()).expect_err("cut off").to_string();
            assert!(!error.contains('\n'), "{error}");
        }
    }
}

#[test]
fn a_file_cut_while_it_is_read_is_refused_or_was_read_before() {
    /// Long enough to be met.
    const WIDTH: f32 = 0.5;
    const TURNS: u32 = 40;
    let folder = Folder::new();
    let sound = network_of(WIDTH);
    for path in files_of(&sound, &folder) {
        let bytes = fs::read(&path).expect("read");
        let start = Instant::now();
        open(&path, &Known::default()).expect("sound");
        let usual = start.elapsed();
        let mut refused = 0;
        for turn in 0..TURNS {
            fs::write(&path, &bytes).expect("written");
            let file = File::options().write(true).open(&path).expect("opened");
            let opened = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(usual * turn / TURNS);
                    file.set_len(bytes.len() as u64 / 2).expect("cut");
                });
                open(&path, &Known::default())
            });
            match opened {
                Ok(opened) => assert!(opened.file.weights == sound.weights, "{}", path.display()),
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
        // The earliest cuts are before the first byte is read.
        assert!(refused > 0, "{}", path.display());
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let folder = Folder::new();
    for path in files(&folder) {
        for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (-f32::INFINITY, "-inf")] {
            let mut bytes = fs::read(&path).expect("read");
            let mark = MARK.to_le_bytes();
            let at = bytes.windows(4).position(|window| window == mark).expect("its mark");
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let damaged = format!("damaged.{}", path.extension().unwrap().display());
            // An archive's own checksum may find it first.
            let of_archive = damaged.ends_with("pth");
            let expected = if of_archive { "" } else { &*format!("holds {name} at element 1") };
            folder.refuses(&damaged, &bytes, expected);
        }
    }
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A tensor's entry in a header.
fn entry(name: &str, shape: &str, begin: u64, end: u64) -> String {
    format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
}

#[test]
fn headers_that_lie_are_refused() {
    let folder = Folder::new();
    let of =
        |entries: &[String], data: &[u8]| safetensors(&format!("{{{}}}", entries.join(",")), data);
    let (bias, eight) = ("conv1.bias", [0; 8]);
    let one = |shape, begin, end| of(&[entry(bias, shape, begin, end)], &eight);
    let cases = [
        // What two readers might read in two ways.
        (of(&[entry(bias, "[2]", 0, 8), entry(bias, "[1]", 0, 4)], &eight), "stands there twice"),
        (of(&[entry(bias, "[2]", 0, 8), entry("fc8.bias", "[2]", 0, 8)], &eight), ""),
        (of(&[entry(bias, "[2]", 0, 8), entry("fc8.bias", "[0]", 4, 4)], &eight), ""),
        (of(&[entry(bias, "[1]", 4, 8)], &eight), ""),
        // Shapes and lengths of other sizes than the file's.
        (one("[3]", 0, 8), ""),
        (one("[1]", 0, 8), ""),
        (one("[-2]", 0, 8), "at byte"),
        (one("[4294967296,4294967296]", 0, 8), ""),
        (one("[4611686018427387904,2]", 0, 8), ""),
        (one("[1073741824]", 0, 1 << 32), "its header speaks of"),
        (one("[2]", 8, 0), ""),
        (of(&[entry(bias, "[1]", 0, 4)], &eight), "its header speaks of"),
        (safetensors("{\"__metadata__\":{\"a\":1}}", b""), "at byte"),
        ([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "at byte 0: a header of"),
        ([&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat(), "at byte 0: a header of"),
        ([&2_u64.to_le_bytes()[..], b"{"].concat(), "at byte 0: a header of"),
    ];
    for (bytes, expected) in cases {
        folder.refuses("lies.safetensors", &bytes, expected);
    }
}

#[test]
fn headers_of_too_much_are_refused() {
    let folder = Folder::new();
    let tiny: Vec<_> = (0..100_000).map(|index| entry(&format!("t{index}"), "[0]", 0, 0)).collect();
    let tiny = safetensors(&format!("{{{}}}", tiny.join(",")), b"");
    folder.refuses("bomb.safetensors", &tiny, "");
    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    folder.refuses("deep.safetensors", &safetensors(&deep, b""), "at byte");
    let dimensions = entry("conv1.bias", &format!("[{}1]", "1,".repeat(1 << 20)), 0, 4);
    folder.refuses(
        "long.safetensors",
        &safetensors(&format!("{{{dimensions}}}"), &[0; 4]),
        "dimensions",
    );
    let layers = (0..100_000).fold(Message::new(), |net, _| net.bytes(100, &b""[..]));
    folder.refuses("bomb.caffemodel", &bytes_of(&layers), "more than the 4096 fields");
    let nodes = (0..100_000).fold(Message::new(), |graph, _| graph.bytes(1, &b""[..]));
    folder.refuses("bomb.onnx", &bytes_of(&Message::new().varint(1, 8).message(7, nodes)), "");
    let entries: Vec<_> = (0..20_000).map(|index| (format!("a/{index}"), vec![])).collect();
    folder.refuses("bomb.pth", &archive(&entries), "");
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write_to(&mut bytes).expect("a vector takes all");
    bytes
}

#[test]
fn protobuf_that_nests_or_lies_is_refused() {
    let folder = Folder::new();
    // Groups within groups: 0x0b begins field 1's, which a recursive reader follows.
    let groups = [0x0b; 100_000];
    let mut nested = Vec::new();
    for _ in 0..2_000 {
        nested = bytes_of(&Message::new().bytes(100, nested));
    }
    for (name, bytes, expected) in [
        ("groups.caffemodel", &groups[..], "field 1 has wire type 3"),
        ("groups.onnx", &groups[..], "wire type 3"),
        ("nested.caffemodel", &nested[..], ""),
        ("nested.onnx", &nested[..], ""),
        ("long.caffemodel", b"\x0a\xff\xff\xff\xff\x0f", "a field of 4294967295 bytes"),
        ("long.onnx", b"\x08\x08\x3a\xff\xff\xff\xff\x0f", "a field of 4294967295 bytes"),
    ] {
        folder.refuses(name, bytes, expected);
    }
    for name in ["large.caffemodel", "large.onnx"] {
        let path = folder.path(name);
        File::create(&path).and_then(|file| file.set_len(1 << 31)).expect("a file of no blocks");
        refuses(&path, "protobuf's files at most 2147483647");
    }
    for (shape, name) in [([1 << 62, 4], "wraps"), ([1 << 20, 1 << 20], "large")] {
        let blob = Message::new().message(7, Message::new().varints(1, shape)).bytes(5, vec![0; 8]);
        let layer = Message::new().text(1, "fc8").text(2, "InnerProduct");
        let layer = layer.message(7, blob.clone()).message(7, blob);
        let net = bytes_of(&Message::new().message(100, layer));
        folder.refuses(&format!("{name}.caffemodel"), &net, "blob 0 has 2 values, but its shape");
    }
}

#[test]
fn onnx_that_points_to_other_files_is_refused() {
    let folder = Folder::new();
    fs::write(folder.path("secret"), [0; 64]).expect("written");
    for location in ["secret", "../secret", "/etc/passwd", "a/../../secret"] {
        let place = Message::new().text(1, "location").text(2, location);
        let tensor = Message::new().varint(1, 2).varint(2, 1).text(8, "conv1.bias");
        let tensor = tensor.message(13, place).varint(14, 1);
        let graph = Message::new().message(5, tensor);
        let model = bytes_of(&Message::new().varint(1, 8).message(7, graph));
        folder.refuses("points.onnx", &model, "");
    }
}

/// Found by fuzzing: errors quote names that stand in the file.
#[test]
fn names_that_end_lines_or_steer_terminals_are_quoted_as_text() {
    const NAME: &str = "x\n\u{1b}[2Jy";
    const QUOTED: &str = r"x\n\u{1b}[2Jy";
    let folder = Folder::new();
    let header = r#"{"x\n\u001b[2Jy":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let end = |name: &str| {
        let tensor = Message::new().varint(1, 1);
        Message::new().text(1, name).message(2, Message::new().message(1, tensor))
    };
    let node = Message::new().text(1, "in").text(2, "out").text(4, NAME);
    let graph = Message::new().message(1, node).message(11, end("in")).message(12, end("out"));
    let opset = Message::new().varint(2, 17);
    let layer = Message::new().text(1, NAME).text(2, "Convolution");
    let pickle = replaced(&tensor_pickle(2, 0, 2, 1), &text("conv1.bias"), &text(NAME));
    for (name, bytes) in [
        ("names.safetensors", safetensors(header, &[0; 8])),
        ("names.onnx", Message::new().varint(1, 8).message(7, graph).message(8, opset).to_bytes()),
        ("names.caffemodel", Message::new().message(100, layer).to_bytes()),
        ("names.pth", checkpoint(&pickle)),
    ] {
        folder.refuses(name, &bytes, QUOTED);
    }
}

/// An archive of entries as they are.
fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(name.as_str(), options).expect("an entry");
        archive.write_all(bytes).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

/// A text in a pickle.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A checkpoint of this pickle.
fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    let entry = |name: &str, bytes: &[u8]| (format!("archive/{name}"), bytes.to_vec());
    archive(&[
        entry("data.pkl", pickle),
        entry("byteorder", b"little"),
        entry("data/0", &[0; 8]),
        entry("version", b"3\n"),
    ])
}

/// Refused in an archive, as `torch.save` writes it, and bare, as it wrote before 2020.
fn pickle_is_refused(folder: &Folder, pickle: &[u8]) {
    folder.refuses("hostile.pth", &checkpoint(pickle), "");
    folder.refuses("bare.pth", pickle, "");
}

#[test]
fn pickles_that_call_functions_call_nothing() {
    let folder = Folder::new();
    let (touched, calls) = (
        folder.path("touched"),
        [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("subprocess", "call"),
            ("builtins", "eval"),
            ("builtins", "exec"),
            ("__builtin__", "exec"),
            ("_posixsubprocess", "fork_exec"),
            ("inspect", "getattr_static"),
            ("torch.serialization", "load"),
            ("runpy", "run_path"),
            ("torch._utils", "os.system"),
        ],
    );
    let command = format!("touch {}", touched.display());
    for (module, function) in calls {
        let old_name = format!("c{module}\n{function}\n").into_bytes();
        let new_name = [&text(module)[..], &text(function), b"\x93"].concat();
        for name in [old_name, new_name] {
            // GLOBAL, arguments, REDUCE; alone, and as a value of a dictionary.
            let call = [&name[..], b"(", &text(&command), b"tR"].concat();
            pickle_is_refused(&folder, &[b"\x80\x02", &call[..], b"."].concat());
            let value = [b"\x80\x02}", &text("conv1.bias")[..], &call, b"s."].concat();
            pickle_is_refused(&folder, &value);
            // NEWOBJ, BUILD and INST call too.
            let object = [b"\x80\x02", &name[..], b"(", &text(&command), b"t\x81."].concat();
            pickle_is_refused(&folder, &object);
            let build = [b"\x80\x02", &name[..], b")R}", &text("a")[..], &call, b"sb."].concat();
            pickle_is_refused(&folder, &build);
        }
        let inst = format!("(S'{command}'\ni{module}\n{function}\n.");
        pickle_is_refused(&folder, inst.as_bytes());
    }
    assert!(!touched.exists());
}

/// An integer as a text, and itself.
fn key_and_value(number: u32) -> Vec<u8> {
    let key = format!("{number:05}");
    let value = number.to_le_bytes();
    [b"X\x05\0\0\0", key.as_bytes(), b"J", &value].concat()
}

#[test]
fn pickles_that_grow_or_nest_are_refused() {
    let folder = Folder::new();
    // A tuple of itself twice, sixty times over: 2^60 leaves for one who copies.
    let double =
        |count: usize| (0..count).flat_map(|n| [b'2', 0x86, b'q', n as u8]).collect::<Vec<u8>>();
    let bomb = [b"\x80\x02)", &double(60)[..], b"."].concat();
    let value = [b"\x80\x02}X\x01\0\0\0a)", &double(60)[..], b"s."].concat();
    let got: Vec<u8> = (0..60).flat_map(|n| [b'h', n, b'h', n, 0x86, b'q', n + 1]).collect();
    let memo = [b"\x80\x02)q\0", &got[..], b"."].concat();
    let deep = |open: &[u8], close: &[u8]| {
        [b"\x80\x02", &open.repeat(100_000)[..], &close.repeat(100_000), b"."].concat()
    };
    let cases = [
        bomb,
        value,
        memo,
        deep(b"(", b"t"),
        deep(b"]", b"a"),
        deep(b"}X\x01\0\0\0a", b"s"),
        deep(b")", b"\x85"),
        [b"\x80\x02", &b"]".repeat(16_000_000)[..], b"."].concat(),
        // As much as is made at most: on the stack, in one list, as keys, in texts, by fetching.
        [b"\x80\x02", &b"]".repeat(58_000)[..], b"."].concat(),
        [b"\x80\x02](", &b"K\0".repeat(58_000)[..], b"e."].concat(),
        [b"\x80\x02}(", &(0..14_000_u32).flat_map(key_and_value).collect::<Vec<_>>()[..], b"u."]
            .concat(),
        [b"\x80\x02X\0\0\x30\0", &b"a".repeat(3 << 20)[..], b"."].concat(),
        [b"\x80\x02X\0\x04\0\0", &b"a".repeat(1 << 10)[..], b"q\0", &b"h\0".repeat(3_700), b"."]
            .concat(),
        [b"\x80\x02](", &b"K\0".repeat(200)[..], b"eq\0", &b"h\0".repeat(280), b"."].concat(),
        [b"\x80\x02(", &b"K\0".repeat(4_000_000)[..], b"t."].concat(),
        [b"\x80\x02X\0\0\x10\0", &b"a".repeat(1 << 20)[..], &double(60), b"."].concat(),
        [b"\x80\x02", &b"(".repeat(1_000_000)[..], b"."].concat(),
        // Lengths of what is not there.
        b"\x80\x02\x8a\xc8\x01.".to_vec(),
        b"\x80\x02\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09.".to_vec(),
        b"\x80\x02\x8b\xff\xff\xff\x7f.".to_vec(),
        b"\x80\x02X\xff\xff\xff\xff.".to_vec(),
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec(),
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec(),
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec(),
        b"\x80\x02r\xff\xff\xff\xffj\xff\xff\xff\xff.".to_vec(),
        b"\x80\x02h\x07.".to_vec(),
        b"\x80\x02.".to_vec(),
        b"\x80\xff.".to_vec(),
    ];
    for pickle in cases {
        pickle_is_refused(&folder, &pickle);
    }
}

/// A pickle of one tensor: of a storage that has so many elements, from an offset, of a shape and
/// strides.
fn tensor_pickle(elements: i64, offset: i64, shape: i64, stride: i64) -> Vec<u8> {
    let number = |value: i64| [&[0x8a, 8][..], &value.to_le_bytes()].concat();
    [
        b"\x80\x02}",
        &text("conv1.bias")[..],
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &number(elements),
        b"tQ",
        &number(offset),
        &number(shape),
        b"\x85",
        &number(stride),
        b"\x85\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let folder = Folder::new();
    for (elements, offset, shape, stride) in [
        (2, 0, 3, 1),
        (2, 1, 2, 1),
        (2, -1, 2, 1),
        (2, 0, -2, 1),
        (2, 0, 2, -1),
        (2, 0, 1 << 30, 0),
        (1 << 30, 0, 1 << 30, 1),
        (i64::MAX, 0, i64::MAX, 1),
        (2, i64::MAX, 2, 1),
        (2, 0, 2, i64::MAX),
    ] {
        let pickle = tensor_pickle(elements, offset, shape, stride);
        folder.refuses("beyond.pth", &checkpoint(&pickle), "");
    }
}

#[test]
fn archives_with_tricks_are_refused() {
    let folder = Folder::new();
    let sound = checkpoint(&tensor_pickle(2, 0, 2, 1));
    let renamed = |from: &str, to: &str| {
        let mut bytes = sound.clone();
        assert_eq!(from.len(), to.len());
        for at in 0..bytes.len() - from.len() {
            if bytes[at..].starts_with(from.as_bytes()) {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        bytes
    };
    // Local headers have the method at 8 and sizes at 18 and 22, central ones two bytes later.
    let patched = |offset: usize, value: &[u8]| {
        let mut bytes = sound.clone();
        for at in 0..bytes.len() - 4 {
            let place = match &bytes[at..at + 4] {
                b"PK\x03\x04" => at + offset,
                b"PK\x01\x02" => at + offset + 2,
                _ => continue,
            };
            bytes[place..place + value.len()].copy_from_slice(value);
        }
        bytes
    };
    let cases = [
        (renamed("archive/version", "../../a/version"), "climbs out of the archive"),
        (renamed("archive/version", "..\\..\\a\\version"), "climbs out of the archive"),
        (renamed("archive/version", "/archive/verson"), "climbs out of the archive"),
        (renamed("archive/version", "archive/data/0\0"), ""),
        (renamed("archive/byteorder", "archive/data.pkl\0"), ""),
        (patched(8, &[8, 0]), "is compressed"),
        (patched(8, &[12, 0]), ""),
        (patched(22, &(1_u32 << 31).to_le_bytes()), "is compressed"),
        (patched(18, &(1_u32 << 31).to_le_bytes()), ""),
        ([&sound[..], b"trailing bytes"].concat(), "does not end as an archive"),
        ([&b"PK\x03\x04"[..], &[0; 4096]].concat(), ""),
        (b"PK\x05\x06".to_vec(), "does not begin with an entry"),
        ([&b"PK\x05\x06"[..], &[0; 18], &patched(8, &[8, 0])].concat(), "does not begin with an"),
        ([&[0; 257][..], b"ustar\0", &[0; 1024]].concat(), "as PyTorch wrote until 2016"),
        (archive(&[]), ""),
    ];
    for (bytes, expected) in cases {
        folder.refuses("tricks.pth", &bytes, expected);
    }
    let twice = [("a/data.pkl".to_owned(), vec![]), ("b/data.pkl".to_owned(), vec![])];
    folder.refuses("twice.pth", &archive(&twice), "is a second pickle");
    let nested = [("archive/data.pkl".to_owned(), sound.clone())];
    folder.refuses("nested.pth", &archive(&nested), "");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn entries_that_lie_over_each_other_give_no_more_than_the_file_has() {
    const VALUES: i64 = 1 << 14;
    let folder = Folder::new();
    let one = tensor_pickle(VALUES, 0, VALUES, 1);
    let other = replaced(&one, b"conv1.bias", b"conv2.bias");
    let other = replaced(&other, b"X\x01\0\0\x000", b"X\x01\0\0\x001");
    // One dictionary, closed by one full stop.
    let both = [&one[..one.len() - 1], &other[b"\x80\x02}".len()..]].concat();
    let values = vec![0; VALUES as usize * 4];
    let entry = |name: &str, bytes: &[u8]| (format!("archive/{name}"), bytes.to_vec());
    let apart =
        archive(&[entry("data.pkl", &both), entry("data/0", &values), entry("data/1", &values)]);
    // Sound but for what is missing.
    folder.refuses("apart.pth", &apart, "which is nearest");
    let mut over =
        archive(&[entry("data.pkl", &both), entry("data/0", &values), entry("data/1", b"")]);
    // The second's record in the directory becomes the first's but for the name, of equal length.
    let records: Vec<_> =
        (0..over.len()).filter(|&at| over[at..].starts_with(b"PK\x01\x02")).collect();
    const BEFORE_NAME: usize = 46;
    over.copy_within(records[1]..records[1] + BEFORE_NAME, records[2]);
    folder.refuses("over.pth", &over, "tensor conv2.bias of shape [16384] has more bytes than are");
}

#[test]
fn files_of_nothing_are_refused() {
    let folder = Folder::new();
    for extension in ["safetensors", "pth", "pt", "bin", "onnx", "caffemodel", "txt"] {
        for bytes in
            [&b""[..], b"\0", &[0; 4096], &[0xff; 4096], b"version https://git-lfs.github.com"]
        {
            folder.refuses(&format!("nothing.{extension}"), bytes, "");
        }
    }
}

//! Writes Parquet files by hand, so that they can lie.

/// A file of one row group with a column of images and one of classes.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) columns: Vec<Column>,
    /// The row group's number of rows, and the file's.
    pub(crate) rows: [i64; 2],
    pub(crate) metadata: Vec<(&'static str, String)>,
    /// Children of the schema's root, other than the columns there are.
    pub(crate) root_children: Option<i64>,
}

#[derive(Clone)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// 1: 32 bits, 2: 64 bits, 6: bytes.
    pub(crate) kind: i64,
    /// 0: never null, 1: may be null, 2: a list.
    pub(crate) repetition: i64,
    pub(crate) pages: Vec<Page>,
    /// What the footer says of it, by field of the chunk's metadata; these win over the truth.
    pub(crate) says: Vec<(i16, i64)>,
    pub(crate) nulls: Option<i64>,
    pub(crate) elsewhere: bool,
    pub(crate) encrypted: bool,
}

#[derive(Clone)]
pub(crate) struct Page {
    /// Fields of the header, and of the one in it, at field 5 or 7 or 8.
    pub(crate) header: Vec<(i16, i64)>,
    pub(crate) at: i16,
    pub(crate) inner: Vec<(i16, i64)>,
    pub(crate) body: Vec<u8>,
}

/// Byte strings as a plain page has them.
pub(crate) fn plain(values: &[&[u8]]) -> Vec<u8> {
    let value = |value: &&[u8]| [&(value.len() as u32).to_le_bytes(), *value].concat();
    values.iter().flat_map(value).collect()
}

/// Levels of rows that all are as this one says.
pub(crate) fn levels(rows: u8, level: u8) -> Vec<u8> {
    [&2_u32.to_le_bytes()[..], &[rows << 1, level]].concat()
}

/// A data page of version 1.
pub(crate) fn v1(values: i64, body: Vec<u8>) -> Page {
    let len = body.len() as i64;
    Page {
        header: vec![(1, 0), (2, len), (3, len)],
        at: 5,
        inner: vec![(1, values), (2, 0), (3, 3), (4, 3)],
        body,
    }
}

/// A dictionary.
pub(crate) fn dictionary(values: i64, body: Vec<u8>) -> Page {
    Page { at: 7, inner: vec![(1, values), (2, 0)], ..v1(values, body) }.with(1, 2)
}

/// A data page of version 2, its levels taking so many bytes.
pub(crate) fn v2(values: i64, levels: i64, body: Vec<u8>) -> Page {
    let inner = vec![(1, values), (2, 0), (3, values), (4, 0), (5, levels), (6, 0)];
    Page { at: 8, inner, ..v1(values, body) }.with(1, 3)
}

impl Page {
    /// With a field of the header set.
    pub(crate) fn with(mut self, field: i16, value: i64) -> Page {
        set(&mut self.header, field, value);
        self
    }

    /// With a field of the inner header set.
    pub(crate) fn within(mut self, field: i16, value: i64) -> Page {
        set(&mut self.inner, field, value);
        self
    }

    /// With other bytes behind the same header, but for their number.
    pub(crate) fn packed(mut self, body: Vec<u8>) -> Page {
        set(&mut self.header, 3, body.len() as i64);
        self.body = body;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut fields = self.header.clone();
        fields.sort_unstable();
        let (before, after) = fields.iter().partition::<Vec<_>, _>(|(field, _)| *field < self.at);
        assert!(after.is_empty());
        let header = ints(&before).structure(self.at, ints(&self.inner).end());
        [header.end(), self.body.clone()].concat()
    }
}

fn set(fields: &mut Vec<(i16, i64)>, field: i16, value: i64) {
    fields.retain(|(other, _)| *other != field);
    fields.push((field, value));
    fields.sort_unstable();
}

impl Forged {
    /// Rows of these images and classes, in one plain page each; an image may be null.
    pub(crate) fn new(images: &[&[u8]], labels: &[i64]) -> Forged {
        let rows = images.len();
        let body = [levels(rows as u8, 1), plain(images)].concat();
        let numbers = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let column = |name, kind, repetition, page| Column {
            name,
            kind,
            repetition,
            pages: vec![page],
            says: Vec::new(),
            nulls: None,
            elsewhere: false,
            encrypted: false,
        };
        let image = column("image", 6, 1, v1(rows as i64, body));
        let label = column("label", 2, 0, v1(rows as i64, numbers));
        Forged {
            columns: vec![image, label],
            rows: [rows as i64; 2],
            metadata: Vec::new(),
            root_children: None,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = b"PAR1".to_vec();
        let mut chunks = Vec::new();
        for column in &self.columns {
            let start = file.len() as i64;
            let mut data_start = start;
            for page in &column.pages {
                if page.at == 7 {
                    data_start += page.bytes().len() as i64;
                }
                file.extend(page.bytes());
            }
            chunks.push(self.chunk(column, start, data_start, file.len() as i64 - start));
        }
        let root = Thrift::default()
            .binary(4, b"schema")
            .int(5, self.root_children.unwrap_or(self.columns.len() as i64));
        let element = |column: &Column| {
            let element = Thrift::default().int(1, column.kind).int(3, column.repetition);
            element.binary(4, column.name.as_bytes()).end()
        };
        let schema = [root.end()].into_iter().chain(self.columns.iter().map(element)).collect();
        let group = Thrift::default().list(1, chunks).int(2, 0).int(3, self.rows[0]).end();
        let pair = |(key, value): &(&str, String)| {
            Thrift::default().binary(1, key.as_bytes()).binary(2, value.as_bytes()).end()
        };
        let footer = Thrift::default().int(1, 2).list(2, schema).int(3, self.rows[1]);
        let footer = footer.list(4, vec![group]);
        let footer = footer.list(5, self.metadata.iter().map(pair).collect()).end();
        let len = (footer.len() as u32).to_le_bytes();
        [file, footer, len.to_vec(), b"PAR1".to_vec()].concat()
    }

    fn chunk(&self, column: &Column, start: i64, data_start: i64, bytes: i64) -> Vec<u8> {
        let mut fields = vec![
            (1, column.kind),
            (4, 0),
            (5, self.rows[0]),
            (6, bytes),
            (7, bytes),
            (9, data_start),
        ];
        if data_start > start {
            fields.push((11, start));
        }
        column.says.iter().for_each(|&(field, value)| set(&mut fields, field, value));
        let mut metadata = ints(&fields);
        if let Some(nulls) = column.nulls {
            metadata = metadata.structure(12, ints(&[(3, nulls)]).end());
        }
        let mut chunk = Thrift::default();
        if column.elsewhere {
            chunk = chunk.binary(1, b"other.parquet");
        }
        chunk = chunk.int(2, 0).structure(3, metadata.end());
        if column.encrypted {
            chunk = chunk.structure(8, Thrift::default().end());
        }
        chunk.end()
    }
}

/// A structure in Thrift's compact protocol; fields come in order.
#[derive(Default)]
struct Thrift {
    bytes: Vec<u8>,
    last: i16,
}

fn ints(fields: &[(i16, i64)]) -> Thrift {
    fields.iter().fold(Thrift::default(), |thrift, &(field, value)| thrift.int(field, value))
}

impl Thrift {
    fn field(mut self, number: i16, kind: u8) -> Self {
        self.bytes.push(((number - self.last) as u8) << 4 | kind);
        self.last = number;
        self
    }

    fn int(self, number: i16, value: i64) -> Self {
        let mut this = self.field(number, 6);
        this.bytes.extend(varint(((value << 1) ^ (value >> 63)) as u64));
        this
    }

    fn binary(self, number: i16, value: &[u8]) -> Self {
        let mut this = self.field(number, 8);
        this.bytes.extend(varint(value.len() as u64));
        this.bytes.extend(value);
        this
    }

    fn structure(self, number: i16, value: Vec<u8>) -> Self {
        let mut this = self.field(number, 12);
        this.bytes.extend(value);
        this
    }

    fn list(self, number: i16, values: Vec<Vec<u8>>) -> Self {
        let mut this = self.field(number, 9);
        this.bytes.push(0xfc);
        this.bytes.extend(varint(values.len() as u64));
        this.bytes.extend(values.concat());
        this
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

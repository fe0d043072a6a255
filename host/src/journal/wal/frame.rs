//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::io::{self, Read};

use super::read_whole;

/// Bytes of the file's header.
pub(super) const HEADER: usize = 32;
/// Bytes of a frame's header.
pub(super) const FRAME_HEAD: usize = 24;
/// What a file begins with; the lowest bit says that check sums read words with the highest byte first.
const MAGIC: u32 = 0x377f_0682;
/// Bytes at the head of a frame that its check sum covers.
const COVERED: usize = 8;
/// What a disk writes as one.
const SECTOR: u64 = 512;

/// A check sum, which goes on from the one of the frame before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum(pub(super) u32, pub(super) u32);

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) page: usize,
    /// Words are read with the highest byte first.
    pub(super) big: bool,
    /// What makes this generation's frames its own.
    pub(super) salts: [u8; 8],
    pub(super) sum: Sum,
}

impl Header {
    /// The header, the bytes of one that does not fit its check sum, or nothing where the file is too short for one.
    pub(super) fn read(file: &mut impl Read) -> io::Result<Option<Result<Self, [u8; HEADER]>>> {
        let mut bytes = [0; HEADER];
        if !read_whole(file, &mut bytes)? {
            return Ok(None);
        }
        Ok(Some(Self::parse(&bytes).ok_or(bytes)))
    }

    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let magic = word(bytes, 0);
        let header = Self {
            page: usize::try_from(word(bytes, 8)).ok()?,
            big: magic & 1 == 1,
            salts: salts(bytes, 16),
            sum: Sum(word(bytes, 24), word(bytes, 28)),
        };
        let fits = magic & !1 == MAGIC
            && (512..=65_536).contains(&header.page)
            && header.page.is_power_of_two()
            && header.add(Sum(0, 0), &bytes[..24]) == header.sum;
        fits.then_some(header)
    }

    /// Every form that a header may have had.
    pub(super) fn guesses(bytes: &[u8; HEADER]) -> impl Iterator<Item = Self> {
        let salts = salts(bytes, 16);
        let sum = Sum(word(bytes, 24), word(bytes, 28));
        (9..=16).flat_map(move |power| {
            [false, true].map(|big| Self {
                page: 1 << power,
                big,
                salts,
                sum,
            })
        })
    }

    /// What the first frame's check sum may go on from: the damage may lie in the sum or in what it covers.
    pub(super) fn seeds(&self, bytes: &[u8; HEADER]) -> [Sum; 2] {
        [self.sum, self.add(Sum(0, 0), &bytes[..24])]
    }

    /// The header as it is written.
    pub(super) fn to_bytes(&self) -> ([u8; HEADER], Sum) {
        let mut bytes = [0; HEADER];
        let page = u32::try_from(self.page).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&(MAGIC | u32::from(self.big)).to_be_bytes());
        bytes[4..8].copy_from_slice(&3_007_000_u32.to_be_bytes());
        bytes[8..12].copy_from_slice(&page.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.salts);
        let sum = self.add(Sum(0, 0), &bytes[..24]);
        bytes[24..28].copy_from_slice(&sum.0.to_be_bytes());
        bytes[28..].copy_from_slice(&sum.1.to_be_bytes());
        (bytes, sum)
    }

    /// Room for one frame.
    pub(super) fn frame_room(&self) -> Vec<u8> {
        vec![0; FRAME_HEAD + self.page]
    }

    /// Where a frame begins in the file.
    pub(super) const fn place_of(&self, frame: u64) -> u64 {
        HEADER as u64 + (frame - 1) * (FRAME_HEAD + self.page) as u64
    }

    /// Takes bytes into a check sum.
    pub(super) fn add(&self, mut sum: Sum, bytes: &[u8]) -> Sum {
        for pair in bytes.chunks_exact(8) {
            sum.0 = sum.0.wrapping_add(self.read_word(pair, 0)).wrapping_add(sum.1);
            sum.1 = sum.1.wrapping_add(self.read_word(pair, 4)).wrapping_add(sum.0);
        }
        sum
    }

    pub(super) fn read_word(&self, bytes: &[u8], at: usize) -> u32 {
        if self.big {
            word(bytes, at)
        } else {
            word(bytes, at).swap_bytes()
        }
    }
}

/// A word that does not fit, and what must be added to it. The place counts bytes of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongWord {
    pub(super) at: usize,
    pub(super) add: u32,
    /// No other word would mend it: a wrong high byte alone says little about its place. Where more would, this is the
    /// first of them.
    pub(super) alone: bool,
}

impl WrongWord {
    /// A word that the check sum does not cover: it is written anew with every copy.
    const fn uncovered(at: usize) -> Self {
        Self {
            at,
            add: 0,
            alone: true,
        }
    }
}

/// A frame's bytes: its header and one page.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a>(pub(super) &'a [u8]);

impl Frame<'_> {
    pub(super) fn page_number(self) -> u32 {
        word(self.0, 0)
    }

    /// How many pages the main file has after the transaction that this frame ends; 0 where it ends none.
    pub(super) fn pages(self) -> u32 {
        word(self.0, 4)
    }

    /// True for the last frame of a transaction.
    pub(super) fn is_commit(self) -> bool {
        self.pages() != 0
    }

    pub(super) fn salts(self) -> [u8; 8] {
        salts(self.0, 8)
    }

    /// True for a frame of this generation.
    pub(super) fn is_of(self, header: &Header) -> bool {
        self.salts() == header.salts
    }

    pub(super) fn stored(self) -> Sum {
        Sum(word(self.0, 16), word(self.0, 20))
    }

    /// The check sum that it should have after one that has `before`.
    pub(super) fn sum(self, header: &Header, before: Sum) -> Sum {
        let sum = header.add(before, &self.0[..COVERED]);
        header.add(sum, &self.0[FRAME_HEAD..])
    }

    /// True when it is of this generation and was written after a frame with the check sum `before`.
    pub(super) fn follows(self, header: &Header, before: Sum) -> bool {
        self.is_of(header) && self.page_number() != 0 && self.sum(header, before) == self.stored()
    }

    /// The one word that keeps this frame from fitting, where it is one.
    pub(super) fn wrong_word(self, header: &Header, before: Sum, number: u64) -> Option<WrongWord> {
        let (found, stored) = (self.sum(header, before), self.stored());
        // What must be added to the sum of what is there.
        let gap = Sum(stored.0.wrapping_sub(found.0), stored.1.wrapping_sub(found.1));
        if !self.is_of(header) {
            // The check sum does not cover the salts: a frame that fits but for them has wrong ones.
            let fits = gap == Sum(0, 0) && self.page_number() != 0;
            return fits.then_some(WrongWord::uncovered(8));
        }
        match gap {
            Sum(0, 0) => None,
            Sum(_, 0) => Some(WrongWord::uncovered(16)),
            Sum(0, _) => Some(WrongWord::uncovered(20)),
            gap => self.word_for(gap, header.place_of(number)),
        }
    }

    /// The word whose change changes the sum by `gap`: going back from the end, what one more in a word adds to either
    /// half of the sum is known, and one of the two is odd, so that at most one change fits each word.
    ///
    /// A word in a blank sector is not meant: where several fit, one that is not blank is enough.
    fn word_for(self, gap: Sum, begins: u64) -> Option<WrongWord> {
        let (mut first, mut second) = (Sum(1, 0), Sum(0, 1));
        let mut found: Option<WrongWord> = None;
        let places = (FRAME_HEAD..self.0.len()).step_by(4).rev();
        for at in places.chain((0..COVERED).step_by(4).rev()) {
            // The second word of a pair goes into the second half, the first into the first.
            let effect = if at % 8 == 4 { second } else { first };
            let add = if effect.0 % 2 == 1 {
                gap.0.wrapping_mul(inverse(effect.0))
            } else {
                gap.1.wrapping_mul(inverse(effect.1))
            };
            let fits = effect.0.wrapping_mul(add) == gap.0 && effect.1.wrapping_mul(add) == gap.1;
            if fits && !self.is_blank(begins, at) {
                let alone = found.is_none();
                found = Some(WrongWord { at, add, alone });
            }
            if at % 8 == 4 {
                first = plus(first, second);
            } else {
                second = plus(second, first);
            }
        }
        found
    }

    /// True when the sector around this place holds nothing: that is one that was never written, and no flipped byte.
    fn is_blank(self, frame_begins: u64, at: usize) -> bool {
        let place = frame_begins + at as u64;
        let sector = place - place % SECTOR;
        let within = |place: u64| usize::try_from(place.saturating_sub(frame_begins)).unwrap_or(usize::MAX);
        let end = within(sector + SECTOR).min(self.0.len());
        self.0[within(sector)..end].iter().all(|byte| *byte == 0)
    }
}

const fn plus(one: Sum, other: Sum) -> Sum {
    Sum(one.0.wrapping_add(other.0), one.1.wrapping_add(other.1))
}

/// What an odd number must be multiplied with to give one, modulo 2^32.
const fn inverse(odd: u32) -> u32 {
    // Right in the last three bits, and each round doubles how many are.
    let mut guess = odd;
    let mut round = 0;
    while round < 4 {
        guess = guess.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(guess)));
        round += 1;
    }
    guess
}

/// Four bytes with the highest first.
fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn salts(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut salts = [0; 8];
    salts.copy_from_slice(&bytes[at..at + 8]);
    salts
}

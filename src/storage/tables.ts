// LevelDB's table files, read as a stranger reads them: every byte of a file lies under a checksum, and every checksum is compared.
//
// LevelDB stores these checksums, but classic-level has no option to compare them (verify_checksums, paranoid_checks): a flipped byte in
// a key would hide that key or bring an older value back, and the next compaction would seal it under a new checksum. So the tables are
// read once when a store is opened. The disk sets the pace: the JavaScript below does more than 1 GB a second.
//
// A table is a row of blocks without a gap, then a footer of 48 bytes that names the metaindex block (a handle for the filter) and the
// index block (a handle for each data block). A handle is offset and size, both varints. Behind each block stand one byte of compression
// type (0 = none, we write no other) and the masked CRC-32C of block and type, little-endian.
import { close, openSync, readFile } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { QedError } from '../errors.ts';

interface Handle {
  readonly offset: number;
  readonly size: number;
}

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
const MAGIC = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
const CRC_MASK_DELTA = 0xa282ead8;

/**
 * Throws `store-corrupt` if one of the live tables is damaged. All are opened before the call returns, so that a compaction which replaces
 * some of them meanwhile takes none out of sight.
 */
export async function checkTables(path: string, liveTables: () => readonly number[]): Promise<void> {
  const files = liveTables().flatMap((number) => {
    const file = join(path, `${String(number).padStart(6, '0')}.ldb`);
    try {
      return [{ file, descriptor: openSync(file, 'r') }];
    } catch (error) {
      if (!liveTables().includes(number)) return []; // A compaction replaced it between the listing and the opening.
      throw error;
    }
  });
  try {
    for (const { file, descriptor } of files) checkTable(file, await promisify(readFile)(descriptor));
  } finally {
    await Promise.all(files.map(({ descriptor }) => promisify(close)(descriptor)));
  }
}

/** `file` names the table in the error. */
export function checkTable(file: string, table: Uint8Array): void {
  const damage = findDamage(table);
  if (damage !== undefined) throw new QedError('store-corrupt', `${file} is damaged: ${damage}`);
}

function findDamage(table: Uint8Array): string | undefined {
  const end = table.length - FOOTER_BYTES;
  if (end < 0 || MAGIC.some((byte, i) => table[table.length - MAGIC.length + i] !== byte)) {
    return 'it does not end as a table does';
  }
  const footer = cursor(table.subarray(end));
  const metaindex = footer.handle();
  const index = footer.handle();
  if (!blockHolds(table, metaindex) || !blockHolds(table, index)) return 'its index does not hold';
  let covered = 0;
  for (const handle of [...handlesIn(table, metaindex), ...handlesIn(table, index), metaindex, index]) {
    if (!blockHolds(table, handle)) return `the block at byte ${handle.offset} does not hold`;
    covered += handle.size + TRAILER_BYTES;
  }
  return covered === end ? undefined : `its blocks cover ${covered} bytes of ${end}`;
}

/** Whether the handle names an uncompressed block whose checksum is right. */
function blockHolds(table: Uint8Array, { offset, size }: Handle): boolean {
  const type = offset + size;
  if (type + TRAILER_BYTES > table.length) return false;
  const crc = crc32c(table.subarray(offset, type + 1));
  const masked = (((crc >>> 15) | (crc << 17)) + CRC_MASK_DELTA) >>> 0;
  return table[type] === 0 && masked === viewOf(table).getUint32(type + 1, true);
}

/**
 * The handles that an index or metaindex block holds as values. Its rows are: length of the prefix shared with the key before, length of
 * the rest, length of the value, the rest of the key, the value. Behind them stand u32 restart offsets and how many there are.
 */
function handlesIn(table: Uint8Array, { offset, size }: Handle): Handle[] {
  const content = table.subarray(offset, offset + size);
  const rows = size < 4 ? 0 : size - 4 - 4 * viewOf(content).getUint32(size - 4, true);
  const handles: Handle[] = [];
  const from = cursor(content);
  while (from.at() < rows) {
    from.number();
    const rest = from.number();
    from.number();
    from.skip(rest);
    handles.push(from.handle());
  }
  return handles;
}

/** Reads varints one after the other. One that runs off the end is NaN, which no check passes. */
function cursor(bytes: Uint8Array) {
  let at = 0;
  function number(): number {
    let value = 0;
    for (let unit = 1; at < bytes.length && unit < 2 ** 49; unit *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
    return NaN;
  }
  return {
    number,
    handle: (): Handle => ({ offset: number(), size: number() }),
    at: () => at,
    skip: (count: number) => void (at += count),
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** What a byte does to a CRC-32C when k more bytes follow it, at 256 * k + byte. */
const crcTable = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  crcTable[byte] = crc;
}
for (let i = 256; i < crcTable.length; i++) {
  const before = crcTable[i - 256]!;
  crcTable[i] = crcTable[before & 255]! ^ (before >>> 8);
}

/** CRC-32C, eight bytes a step. node:zlib has CRC-32 only. */
export function crc32c(bytes: Uint8Array): number {
  let crc = -1;
  let at = 0;
  for (const stop = bytes.length - 7; at < stop; at += 8) {
    const low = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      crcTable[1792 + (low & 255)]! ^
      crcTable[1536 + ((low >>> 8) & 255)]! ^
      crcTable[1280 + ((low >>> 16) & 255)]! ^
      crcTable[1024 + (low >>> 24)]! ^
      crcTable[768 + bytes[at + 4]!]! ^
      crcTable[512 + bytes[at + 5]!]! ^
      crcTable[256 + bytes[at + 6]!]! ^
      crcTable[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) crc = crcTable[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

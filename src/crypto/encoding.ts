// The strict encodings that every format of qed is made of: hex, base64, decimal, UTF-8 and 8-byte numbers.
// Each value has exactly one accepted form, the one that the encoder here writes. Decoders return undefined for everything
// else and never throw, so that the caller can say which field was wrong and under which code. Loads in a browser.
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { assert } from '../errors.ts';

export const U64_BYTES = 8;

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** For public values only: the time it takes tells where they differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

export function encodeHex(bytes: Uint8Array): string {
  return bytesToHex(bytes);
}

/** Lower-case hex of exactly `length` bytes, or of any number of bytes. */
export function decodeHex(text: string, length = text.length / 2): Uint8Array | undefined {
  return text.length === length * 2 && /^(?:[0-9a-f]{2})*$/.test(text) ? hexToBytes(text) : undefined;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** The value of each ASCII character; 64 where it has none. */
const base64Values = Uint8Array.from({ length: 128 }, (_, code) => {
  const value = BASE64.indexOf(String.fromCharCode(code));
  return value < 0 ? 64 : value;
});

/** Standard base64 with padding (RFC 4648 section 4). */
export function encodeBase64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 3) {
    const bits = (bytes[at]! << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    text += BASE64[bits >> 18]! + BASE64[(bits >> 12) & 63]! + BASE64[(bits >> 6) & 63]! + BASE64[bits & 63]!;
  }
  const padding = (3 - (bytes.length % 3)) % 3;
  return text.slice(0, text.length - padding) + '='.repeat(padding);
}

/** Decodes what it can and then compares with the one true encoding, so that no second spelling of a value gets through. */
export function decodeBase64(text: string): Uint8Array | undefined {
  const digits = text.replace(/={1,2}$/, '');
  const bytes = new Uint8Array(Math.floor((digits.length * 3) / 4));
  let bits = 0;
  for (let at = 0; at < digits.length; at++) {
    const value = base64Values[digits.charCodeAt(at)] ?? 64;
    if (value === 64) return undefined;
    bits = ((bits << 6) | value) & 0xffffff;
    // From the second digit of each four on, a digit completes a byte; 4, 2 or 0 of its bits are left for the next one.
    if (at % 4 > 0) bytes[at - Math.ceil(at / 4)] = bits >> (6 - (at % 4) * 2);
  }
  return encodeBase64(bytes) === text ? bytes : undefined;
}

export function encodeDecimal(value: number): string {
  assert(isSize(value), `${value} is not a safe integer from 0 on`);
  return value.toString();
}

/** No sign, no leading zeros, no exponent, at most 2^53 - 1. */
export function decodeDecimal(text: string): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(text)) return undefined;
  const value = Number(text);
  return isSize(value) ? value : undefined;
}

/** What versions, sizes, indexes and times are: integers from 0 to 2^53 - 1. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && !Object.is(value, -0) && Number(value) >= 0;
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A lone surrogate has no UTF-8 form: it becomes U+FFFD. Who takes text from strangers checks with `isUnicode` first. */
export function encodeUtf8(text: string): Uint8Array {
  return utf8Encoder.encode(text);
}

export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Whether the string is Unicode text, that is, without lone surrogates. */
export function isUnicode(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/** Writes a safe integer as 8 bytes, big-endian, and returns the bytes. */
export function encodeU64(value: number): Uint8Array {
  const bytes = new Uint8Array(U64_BYTES);
  writeU64(bytes, 0, value);
  return bytes;
}

export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  // Every record and row comes through here: no text is made, and no view, unless something is wrong.
  if (!isSize(value)) assert(false, `${String(value)} is not a safe integer from 0 on`);
  if (at < 0 || at + U64_BYTES > bytes.length) assert(false, `8 bytes at ${at} of ${bytes.length}`);
  let rest = value;
  for (let byte = at + U64_BYTES - 1; byte >= at; byte--) {
    bytes[byte] = rest;
    rest = Math.floor(rest / 256);
  }
}

/** Undefined when the 8 bytes at `at` are not all there, or hold more than 2^53 - 1. */
export function readU64(bytes: Uint8Array, at = 0): number | undefined {
  if (at < 0 || at + U64_BYTES > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, U64_BYTES);
  const value = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
  return isSize(value) ? value : undefined;
}

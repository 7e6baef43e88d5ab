// A stream of bytes as lines. The newline is no part of a line; lines without any byte are left out.

const NEWLINE = 0x0a;

export async function* readLines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, undefined> {
  let begun: Uint8Array[] = [];
  for await (const part of stream) {
    let from = 0;
    for (let end = part.indexOf(NEWLINE); end >= 0; end = part.indexOf(NEWLINE, from)) {
      const line =
        begun.length === 0 ? part.subarray(from, end) : Buffer.concat([...begun, part.subarray(from, end)]);
      if (line.length > 0) yield line;
      begun = [];
      from = end + 1;
    }
    if (from < part.length) begun.push(part.subarray(from));
  }
  if (begun.length > 0) yield Buffer.concat(begun);
  return undefined;
}

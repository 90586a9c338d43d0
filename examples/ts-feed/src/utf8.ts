// QuickJS has neither TextEncoder nor TextDecoder, but what encodes URLs knows UTF-8.

export function encode(text: string): Uint8Array {
  const escaped = encodeURIComponent(text);
  const bytes: number[] = [];
  for (let at = 0; at < escaped.length; at++) {
    if (escaped[at] === "%") {
      bytes.push(parseInt(escaped.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(escaped.charCodeAt(at));
    }
  }
  return Uint8Array.from(bytes);
}

export function decode(bytes: Uint8Array): string {
  const pieces = Array.from(bytes, (byte) =>
    byte < 0x80 && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, "0")}`,
  );
  try {
    return decodeURIComponent(pieces.join(""));
  } catch {
    throw new Error("not UTF-8");
  }
}

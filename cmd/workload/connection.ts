// One connection, one request at a time, as cheap as Node allows: undici's dispatch without streams, bodies made before, answers thrown away unless
// somebody wants to look at them. The generator shares the machine with the server that it measures.
import { Client, type Dispatcher } from 'undici';

export interface Sent {
  readonly path: string;
  readonly body: Uint8Array;
  /** Name, value, name, value. */
  readonly headers: readonly string[];
}

export interface Reply {
  /** 0 when no answer came. */
  readonly status: number;
  /** Empty for a success that nobody wanted to look at. */
  readonly bytes: Uint8Array;
}

export interface Connection {
  readonly send: (sent: Sent, isWanted: boolean) => Promise<Reply>;
  readonly close: () => Promise<void>;
}

export interface ConnectionOptions {
  readonly ca?: string | undefined;
  readonly insecure?: boolean | undefined;
}

export function openConnection(endpoint: string, { ca, insecure }: ConnectionOptions): Connection {
  const { origin, pathname } = new URL(endpoint);
  const prefix = pathname.replace(/\/+$/, '');
  const client = new Client(origin, {
    pipelining: 1,
    connect: { ...(ca === undefined ? {} : { ca }), rejectUnauthorized: insecure !== true },
  });
  return {
    send: ({ path, body, headers }, isWanted) =>
      new Promise((resolve) => {
        const request: Dispatcher.DispatchOptions = {
          path: prefix + path,
          method: 'POST',
          headers: [...headers],
          body: bufferOf(body),
        };
        client.dispatch(request, receiver(isWanted, resolve));
      }),
    close: () => client.destroy(),
  };
}

/** The same bytes: undici wants a Buffer. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function receiver(isWanted: boolean, resolve: (reply: Reply) => void): Dispatcher.DispatchHandler {
  const parts: Uint8Array[] = [];
  let status = 0;
  return {
    onRequestStart: () => undefined,
    onResponseStart(_controller, statusCode) {
      status = statusCode;
    },
    onResponseData(_controller, part) {
      if (isWanted || status >= 300) parts.push(part);
    },
    onResponseEnd: () => resolve({ status, bytes: Buffer.concat(parts) }),
    onResponseError: () => resolve({ status: 0, bytes: new Uint8Array(0) }),
  };
}

// A real headless browser for tests, where there is one, and pages for it from a server of our own.
import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { delimiter, join } from 'node:path';
import { chromium, type Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const ARGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

/** The browser that CHROME_PATH names, or the first one on the PATH. */
export function findBrowser(): string | undefined {
  const named = process.env['CHROME_PATH'];
  if (named !== undefined && named !== '') return named;
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) =>
    existsSync(path),
  );
}

/** Serves these files, path to JavaScript, beside an empty page, and opens it. All is closed afterwards, also when the work fails. */
export async function withPage<Result>(
  browserPath: string,
  files: Readonly<Record<string, string>>,
  work: (page: Page) => Promise<Result>,
): Promise<Result> {
  const { server, origin } = await serve(files);
  try {
    const browser = await chromium.launch({ executablePath: browserPath, args: ARGS });
    try {
      const page = await browser.newPage();
      await page.goto(`${origin}/`);
      return await work(page);
    } finally {
      await browser.close();
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function serve(files: Readonly<Record<string, string>>): Promise<{ server: Server; origin: string }> {
  const server = createServer((request, response) => {
    const file = files[request.url ?? ''];
    const type = request.url === '/' ? 'text/html' : 'text/javascript';
    response.writeHead(file === undefined && request.url !== '/' ? 404 : 200, { 'content-type': type });
    response.end(file ?? '<!doctype html><title>qed</title>');
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      resolve({ server, origin: `http://127.0.0.1:${port}` });
    });
  });
}

// Figures that are kept in another way than they are shown.
import { Histogram, Registry } from 'prom-client';
import { requestSeconds } from './metrics.ts';

it('shows every request at any time, as if each had been observed at once', async () => {
  const registry = new Registry();
  const { observe } = requestSeconds([registry]);
  const plain = new Registry();
  const twin = new Histogram({
    name: 'qed_request_seconds',
    help: 'Time from the first byte of a request until its answer is sent, by route, method and status.',
    labelNames: ['route', 'method', 'status'],
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    registers: [plain],
  });
  for (let at = 0; at < 1000; at++) {
    const labels = { route: at % 3 === 0 ? '/info' : '/events', method: 'POST', status: 200 + (at % 5) };
    observe({ ...labels, seconds: at / 77 });
    twin.observe(labels, at / 77);
    if (at % 110 === 0 || at === 999) expect(await registry.metrics()).toBe(await plain.metrics());
  }
});

// The small listener of stores and agents, on a port of its own: metrics, a health check, and what an agent says about itself.
import { type Registry } from 'prom-client';
import { createApp, sendJson, type App, type AppOptions } from '../src/server/http.ts';

export async function buildFigures(
  options: AppOptions,
  registry: Registry,
  status?: () => unknown,
): Promise<App> {
  const app = await createApp(options);
  const config = { scope: 'anyone' } as const;
  app.get('/metrics', { config }, async (_request, reply) => {
    const text = await registry.metrics();
    return reply.header('content-type', registry.contentType).header('cache-control', 'no-store').send(text);
  });
  app.get('/healthcheck', { config }, (_request, reply) => sendJson(reply, '{"status":"ready"}'));
  if (status) app.get('/status', { config }, (_request, reply) => sendJson(reply, JSON.stringify(status())));
  return app;
}

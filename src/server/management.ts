// The two listeners beside the API, on ports of their own: management, for operators, and metrics, for their tools.
// Joining, leaving and the list of members come with the cluster; until then a node has nothing to say about them.
import { createApp, type App, type AppOptions } from './http.ts';
import { healthRoute, infoRoutes, type InfoOptions } from './info-routes.ts';
import { type Metrics } from './metrics.ts';
import { type Node } from './node.ts';

export async function buildManagement(node: Node, options: AppOptions & InfoOptions): Promise<App> {
  const app = await createApp(options);
  infoRoutes(app, node, options);
  return app;
}

export async function buildMetrics(
  node: Node,
  options: AppOptions & { readonly metrics: Metrics },
): Promise<App> {
  const { registry } = options.metrics;
  const app = await createApp(options);
  app.get('/metrics', { config: { scope: 'anyone' } }, async (_request, reply) => {
    const text = await registry.metrics();
    return reply.header('content-type', registry.contentType).header('cache-control', 'no-store').send(text);
  });
  healthRoute(app, node);
  return app;
}

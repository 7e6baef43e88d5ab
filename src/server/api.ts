// The HTTP API of a node, built and not yet started: tests ask it by `inject`, `startServer` lets it listen.
import { addRoutes } from './add-routes.ts';
import { createApp, type App, type AppOptions } from './http.ts';
import { infoRoutes, type InfoOptions } from './info-routes.ts';
import { type Node } from './node.ts';
import { documentApi } from './openapi.ts';
import { type Outbox } from './outbox.ts';
import { outboxRoutes } from './outbox-routes.ts';
import { proofRoutes } from './proof-routes.ts';
import { rawAddRoute, tileRoutes } from './tile-routes.ts';

export interface ApiOptions extends AppOptions, InfoOptions {
  /** Whether the node keeps events, so that their bytes are needed and not only their digests. */
  readonly keepEvents: boolean;
  /** Undefined: nothing is published. */
  readonly outbox?: Pick<Outbox, 'published'> | undefined;
}

export async function buildApi(node: Node, options: ApiOptions): Promise<App> {
  const { keepEvents } = options;
  const app = await createApp(options);
  await documentApi(app, options.software);
  addRoutes(app, node, { keepEvents });
  proofRoutes(app, node);
  if (options.outbox) outboxRoutes(app, node, options.outbox);
  infoRoutes(app, node, options);
  tileRoutes(app, node, { isPublic: !options.access().readsNeedKey });
  await app.register((scope, _options, done) => {
    rawAddRoute(scope, node, { keepEvents });
    done();
  });
  return app;
}

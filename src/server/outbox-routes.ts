// What was published, for those who may have missed some of it: agents, and anybody who wants the heads of the log in order.
import { z } from 'zod';
import { decodeDecimal } from '../crypto/encoding.ts';
import { checkForm } from './form.ts';
import { sendJson, type App } from './http.ts';
import { withLines } from './cosigning.ts';
import { type Node } from './node.ts';
import { signedOf } from './signed.ts';
import { type Outbox } from './outbox.ts';
import { refusals, signedSnapshotAnswer } from './schemas.ts';

/** Snapshots in one answer: 256 of them are about 300 KB. */
export const PUBLISHED_MAX = 256;

const decimal = (max: number) =>
  z
    .string()
    .optional()
    .refine(
      (text) => text === undefined || (decodeDecimal(text) ?? Infinity) <= max,
      `not a decimal up to ${max}`,
    );

const question = z.object({
  from: decimal(Number.MAX_SAFE_INTEGER).describe('the lowest version wanted; 0 unless given'),
  limit: decimal(PUBLISHED_MAX).describe(`snapshots at most; ${PUBLISHED_MAX} unless given`),
});

const publishedAnswer = z
  .strictObject({ snapshots: z.array(signedSnapshotAnswer) })
  .meta({ id: 'Published' });

export function outboxRoutes(app: App, node: Pick<Node, 'signed'>, outbox: Pick<Outbox, 'published'>): void {
  app.get(
    '/snapshots',
    {
      config: { scope: 'read' },
      schema: {
        tags: ['read'],
        summary: 'The signed snapshots that were published, oldest first',
        description:
          'Under load not every batch is published. Those who follow the log ask for what they missed here.',
        querystring: question,
        response: { 200: publishedAnswer, ...refusals },
      },
    },
    async (request, reply) => {
      const { from = '0', limit = String(PUBLISHED_MAX) } = checkForm(question, request.query);
      const published = await outbox.published(Number(from), Number(limit));
      const list = published.map(({ version, lines }) =>
        lines === ''
          ? node.signed(version).json
          : signedOf(withLines(node.signed(version).signedSnapshot, lines)).json,
      );
      return sendJson(reply, `{"snapshots":[${list.join(',')}]}`);
    },
  );
}

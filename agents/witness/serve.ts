// The witness of an agent, over HTTP: POST /add-checkpoint as tlog-witness has it, and GET /vkey for who wants to trust it. It asks for no key: the signature of
// the log on the checkpoint is what lets somebody in.
//
// It cosigns with the agent's own key. What that key signs elsewhere, alerts, begins otherwise than everything that is cosigned, so neither can pass for the other.
import { Counter, Gauge, Registry } from 'prom-client';
import { createCosigner } from '../../src/crypto/signer.ts';
import { bytesOf } from '../../src/server/bodies.ts';
import { createApp, type App } from '../../src/server/http.ts';
import { formatAddress, listen, type Wanted } from '../../src/server/listen.ts';
import { requestSeconds } from '../../src/server/metrics.ts';
import { splitViewOf } from '../accuse.ts';
import { type Agent } from '../agent.ts';
import { openWitness, type WitnessOptions, type Witness, type WitnessAnswer } from './witness.ts';

export interface ServeWitnessOptions extends Pick<WitnessOptions, 'vouch' | 'onSigned'> {
  /** The state of the agent must be on disk. */
  readonly agent: Pick<
    Agent,
    'identity' | 'knowledge' | 'state' | 'primitives' | 'registry' | 'logger' | 'alert'
  >;
  readonly wanted: Wanted;
  /** The name in its vkey. Default: that of the agent's key. */
  readonly name?: string | undefined;
  readonly now: () => number;
}

export interface ServedWitness {
  readonly vkey: string;
  readonly address: string;
  /** For the status of the agent. */
  readonly status: () => Readonly<Record<string, unknown>>;
  readonly close: () => Promise<void>;
}

/** A checkpoint of 16 KB with a proof of 63 lines has less. */
const BODY_BYTES_MAX = 32 * 1024;
const REQUESTS_A_SECOND = 100;
const TEXT = 'text/plain; charset=utf-8';

export async function serveWitness(options: ServeWitnessOptions): Promise<ServedWitness> {
  const { identity, knowledge, state, primitives, registry, logger } = options.agent;
  const cosigner = createCosigner(options.name ?? identity.verifier.name, identity.privateKey);
  const witness = openWitness({
    ...options,
    log: () => knowledge.log?.verifier,
    onConflict(known, other) {
      const { log } = knowledge;
      if (log) options.agent.alert(splitViewOf(log, known.size - 1, [known.note, other.note]));
    },
    cosigner,
    store: state,
    primitives,
  });
  const answers = registerFigures(registry, witness);
  const app = await buildWitness(options.agent, witness, cosigner.vkey, (status) => answers.inc({ status }));
  const address = formatAddress(await listenOrClose(app, options.wanted));
  logger.info(`witness at http://${address}, its vkey is ${cosigner.vkey}`);
  return {
    vkey: cosigner.vkey,
    address,
    status: () => ({ witness: { vkey: cosigner.vkey, address, size: witness.size() } }),
    close: () => app.close(),
  };
}

export async function buildWitness(
  agent: Pick<Agent, 'logger'>,
  witness: Witness,
  vkey: string,
  count: (status: number) => void,
): Promise<App> {
  const app = await createApp({
    access: () => ({ keys: [], readsNeedKey: false }),
    // Figures of requests are those of the agent's own listener; here the answers count.
    metrics: { requestSeconds: requestSeconds([new Registry()]) },
    logger: agent.logger,
    limits: { bodyBytesMax: BODY_BYTES_MAX, rateMax: REQUESTS_A_SECOND },
  });
  // Of whatever type: the protocol names none.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  const config = { scope: 'anyone' } as const;
  app.post('/add-checkpoint', { config }, async (request, reply) => {
    const answer = await witness.addCheckpoint(bytesOf(request.body));
    count(answer.status);
    if (answer.status !== 200) agent.logger.info({ answer }, 'a checkpoint was not cosigned');
    const { type, body } = formatAnswer(answer);
    if (answer.status === 503) reply.header('retry-after', '1');
    return reply
      .code(answer.status)
      .header('content-type', type)
      .header('cache-control', 'no-store')
      .send(body);
  });
  app.get('/vkey', { config }, (_request, reply) => reply.header('content-type', TEXT).send(`${vkey}\n`));
  return app;
}

function formatAnswer(answer: WitnessAnswer): { readonly type: string; readonly body: string } {
  if ('lines' in answer) return { type: TEXT, body: answer.lines };
  if ('size' in answer) return { type: 'text/x.tlog.size', body: `${answer.size}\n` };
  return { type: TEXT, body: `${answer.why}\n` };
}

async function listenOrClose(app: App, wanted: Wanted) {
  try {
    return await listen(app, wanted);
  } catch (error) {
    await app.close();
    throw error;
  }
}

function registerFigures(registry: Registry, witness: Witness) {
  const registers = [registry];
  const cosigned: Gauge = new Gauge({
    name: 'qed_witness_cosigned_events',
    help: 'Events in the log as the checkpoint shows it that was cosigned last.',
    registers,
    collect: () => cosigned.set(witness.size()),
  });
  return new Counter({
    name: 'qed_witness_answers_total',
    help: 'Answers to add-checkpoint, by status.',
    labelNames: ['status'] as const,
    registers,
  });
}

// The network, computed by onnxruntime-web: on the GPU where there is WebGPU, otherwise on as many threads as are allowed.

const HERE = new URL("./", import.meta.url).href;

async function hasGPU() {
  try {
    const adapter = await globalThis.navigator?.gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter); // which is no GPU
  } catch {
    return false;
  }
}

async function openWith(build, provider, threads) {
  const ort = await import(`${HERE}ort/${build}`);
  ort.env.wasm.wasmPaths = `${HERE}ort/`;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const model = new Uint8Array(await (await fetch(`${HERE}model.onnx`)).arrayBuffer());
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider], graphOptimizationLevel: "all", logSeverityLevel: 3 });
  return async (values, shape) => {
    const { restored } = await session.run({ image: new ort.Tensor("float32", values, shape) });
    const made = await restored.getData();
    restored.dispose();
    return made;
  };
}

/** Load the network: `run` as tiles.js takes it, what computes, and the side of a tile. */
export async function open() {
  if (await hasGPU()) {
    try {
      return { run: await openWith("ort.webgpu.min.mjs", "webgpu", 1), computes: "WebGPU", side: 1024 };
    } catch (error) {
      console.info(`WebGPU cannot be used: ${error.message}`); // a driver that lacks something; the processor has it all
    }
  }
  const threads = globalThis.crossOriginIsolated ? Math.min(16, navigator.hardwareConcurrency || 1) : 1;
  const run = await openWith("ort.wasm.min.mjs", "wasm", threads);
  return { run, computes: `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`, side: 384 };
}

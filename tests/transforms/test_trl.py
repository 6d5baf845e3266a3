"""The real TRL calls our reward functions, and takes our tools and environments.

A trainer is built with a model and a tokenizer made here: two layers, untrained.
"""

import asyncio
import atexit
import importlib.resources
import json
import math
import os
import sys
import warnings

import pytest

from interpreter_pool.transforms import (
    AsyncCodeRewardFunction,
    CodeRewardFunction,
    PythonEnvironment,
    PythonTool,
)

RIGHT = "```python\nprint(int(input()) * 2)\n```"
WRONG = "```python\nprint('no')\n```"
CASES = [{"kind": "stdio", "input": "2", "expected": "4"}]


pytestmark = pytest.mark.filterwarnings("ignore")  # those of others about each other


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A function that makes a real GRPOTrainer with given rewards, tools, environments."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
        from trl import GRPOConfig, GRPOTrainer

        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        bytewise = Tokenizer(models.BPE({each: n for n, each in enumerate(alphabet)}, []))
        bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bytewise.decoder = decoders.ByteLevel()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=bytewise,
            eos_token="<|end|>",
            pad_token="<|pad|>",
            padding_side="left",
        )
        templates = importlib.resources.files("trl") / "chat_templates"
        tokenizer.chat_template = (templates / "qwen3.jinja").read_text()
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=4096,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        row = {"prompt": [{"role": "user", "content": "Double it."}], "cases": CASES}
        rows = Dataset.from_list([row] * 4)

        def build(**options):
            arguments = GRPOConfig(
                output_dir=str(tmp_path_factory.mktemp("trl")),
                per_device_train_batch_size=2,
                num_generations=2,
                max_completion_length=1500,
                max_steps=1,
                report_to=[],
                use_cpu=True,
                save_strategy="no",
                disable_tqdm=True,
            )
            return GRPOTrainer(
                model=LlamaForCausalLM(config),
                args=arguments,
                train_dataset=rows,
                processing_class=tokenizer,
                **options,
            )

        first = build(reward_funcs=lambda completions, **_: [0.0] * len(completions))
        script(first, RIGHT)
        first.train()  # torch starts its threads, which stay
    return build


@pytest.fixture
def make_trainer(build):
    """The same, for trainers whose event loops end with the test."""
    trainers = []

    def make(**options):
        trainers.append(build(**options))
        return trainers[-1]

    yield make
    for trainer in trainers:
        if trainer._has_async_funcs:
            loop = trainer.async_loop
            asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            trainer.async_loop_thread.join(10)
            # TRL's own end of it would come a second time.
            atexit.unregister(sys.modules["trl.trainer.utils"].shutdown_event_loop_in_daemon)
            loop.close()


def script(trainer, *turns):
    """Have the model say these texts, one a turn, whatever it is asked."""
    turns = iter(turns)

    def say(prompt_ids, *_args, **_options):
        ids = trainer.processing_class(next(turns) + "<|end|>")["input_ids"]
        return [list(ids) for _ in prompt_ids], None

    trainer._generate_single_turn = say


def rewards_of(trainer, completions, cases):
    """What the trainer itself makes of these completions."""
    prompt = [{"role": "user", "content": "Double it."}]
    inputs = [{"prompt": prompt, "cases": each, "level": 1} for each in cases]
    messages = [[{"role": "assistant", "content": text}] for text in completions]
    tensor = trainer._calculate_rewards(
        inputs, [prompt] * len(inputs), messages, [[1]] * len(inputs)
    )
    return [[None if math.isnan(each) else each for each in row] for row in tensor.tolist()]


def test_trl_calls_the_reward_functions(pool, make_trainer):
    """Its trainer passes rows, completions and loggers, and leaves out what has no reward."""
    trainer = make_trainer(reward_funcs=[CodeRewardFunction(pool), AsyncCodeRewardFunction(pool)])
    assert trainer.reward_func_names == ["code_reward", "code_reward"]
    rewards = rewards_of(trainer, [RIGHT, WRONG, "?", RIGHT], [CASES, CASES, CASES, None])
    assert rewards == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [None, None]]
    assert trainer._pending_metrics["code/passed"] == [0.25, 0.25]
    assert trainer._pending_extra_logs["code_verdict"][2] == "no code"


def call_of(code):
    """As Qwen's models call a tool."""
    arguments = json.dumps({"name": "python", "arguments": {"code": code}})
    return f"<tool_call>\n{arguments}\n</tool_call>"


def test_trl_trains_with_a_tool(pool, make_trainer):
    """A whole step: the model calls the tool, is told what came out, answers, and is rewarded."""
    seen = []

    def reward(completions, **columns):
        seen.extend(completions)
        return CodeRewardFunction(pool)(completions=completions, **columns)

    trainer = make_trainer(reward_funcs=reward, tools=[PythonTool(pool)])
    script(trainer, call_of("print(6 * 7)"), RIGHT)
    trainer.train()
    for messages in seen:
        called, told, answer = messages
        assert called["tool_calls"][0]["function"]["arguments"] == {"code": "print(6 * 7)"}
        assert told["content"] == "Code block 1 executed successfully:\n42\n"
        assert "print(int(input()) * 2)" in answer["content"]
    assert len(seen) == 2
    log = trainer.state.log_history[0]
    assert log["code/passed"] == 1.0 and log["tools/failure_frequency"] == 0.0


def test_trl_trains_with_environments(pool, make_trainer):
    """A state for each rollout, over the turns of a step, gone in the next; one tool is seen."""
    seen = []

    def reward(completions, **columns):
        seen.extend(completions)
        return CodeRewardFunction(pool)(completions=completions, **columns)

    trainer = make_trainer(reward_funcs=reward, environment_factory=lambda: PythonEnvironment(pool))
    assert [tool.__name__ for tool in trainer.tools] == ["python"]
    script(trainer, call_of("x = 6"), call_of("x * 7"), RIGHT)
    trainer.train()
    assert [messages[3]["content"].rsplit(":\n")[1] for messages in seen] == ["42\n", "42\n"]
    assert trainer.state.log_history[0]["code/passed"] == 1.0
    for environment in trainer.environments:
        environment.reset()
